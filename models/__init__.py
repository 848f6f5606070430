"""Detectors for Keras 3: each is trained with one joint loss on one contract.

Outsiders use the detectors, `PyramidBackbone`, `PRESETS` and `from_preset`.
"""

from harmonic_tf.models.adapters.harmonized import Harmonized
from harmonic_tf.models.backbones import PyramidBackbone
from harmonic_tf.models.registry import DETECTORS, PRESETS, detector_class, from_preset

__all__ = ["PRESETS", "Harmonized", "PyramidBackbone", "from_preset", *DETECTORS]

# All at once, so that Keras finds their classes when it loads a file.
globals().update({name: detector_class(name) for name in DETECTORS})
