"""The program `harmonic-tf`."""

from harmonic_tf.training.cli.program import main, parse

__all__ = ["main", "parse"]
