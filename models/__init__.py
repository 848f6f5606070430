"""Detectors for Keras 3: each is trained with one joint loss on one contract."""

import importlib

_MODULES = {"SSD": "ssd", "RetinaNet": "retinanet", "PyramidBackbone": "backbones"}
_DETECTORS = ("SSD", "RetinaNet")
__all__ = [*_MODULES, "PRESETS", "from_preset"]


def from_preset(preset, num_classes, **settings):
    """Builds any detector by the name of its preset.

    Args:
        preset: string, a key of `PRESETS`.
        num_classes: int.
        **settings: see `harmonic_tf.models.detector.Detector.from_preset`.

    Raises:
        ValueError: if there is no such preset.
    """
    presets = _presets()
    if preset not in presets:
        raise ValueError(f"There is no preset {preset!r}; there are {', '.join(sorted(presets))}.")
    return presets[preset].from_preset(preset, num_classes=num_classes, **settings)


def _presets():
    return {
        preset: detector
        for detector in (__getattr__(name) for name in _DETECTORS)
        for preset in detector.presets_by_name
    }


def __getattr__(name):
    """Imports a detector when it is needed: RetinaNet brings KerasCV, and with it TensorFlow."""
    if name == "PRESETS":
        return _presets()
    if name in _MODULES:
        module = importlib.import_module(f"harmonic_tf.models.{_MODULES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
