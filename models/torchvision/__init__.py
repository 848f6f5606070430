"""Detectors that torchvision publishes: their state dicts as detectors of ours.

Outsiders use `load_torchvision`.
"""

from harmonic_tf.models.torchvision.loading import Loaded, load_torchvision

__all__ = ["Loaded", "load_torchvision"]
