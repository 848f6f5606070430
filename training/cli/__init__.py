"""The program `harmonic-tf`."""

from harmonic_tf.training.cli.main import main, parse

__all__ = ["main", "parse"]
