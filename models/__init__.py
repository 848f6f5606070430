"""Detectors for Keras 3: each is trained with one joint loss on one contract."""

import importlib.util

from harmonic_tf.models.backbones.backbone import PyramidBackbone
from harmonic_tf.models.cascade_rcnn import CascadeRCNN
from harmonic_tf.models.dssd import DSSD
from harmonic_tf.models.faster_rcnn import FasterRCNN
from harmonic_tf.models.mask_rcnn import MaskRCNN
from harmonic_tf.models.refinedet import RefineDet
from harmonic_tf.models.ssd import SSD

_DETECTORS = [SSD, DSSD, RefineDet, FasterRCNN, MaskRCNN, CascadeRCNN]
__all__ = [
    "CascadeRCNN",
    "DSSD",
    "FasterRCNN",
    "MaskRCNN",
    "PRESETS",
    "PyramidBackbone",
    "RefineDet",
    "SSD",
    "from_preset",
]

# KerasCV, which RetinaNet is built on, imports TensorFlow whatever the backend.
if importlib.util.find_spec("keras_cv") and importlib.util.find_spec("tensorflow"):
    from harmonic_tf.models.retinanet import RetinaNet

    _DETECTORS.append(RetinaNet)
    __all__.append("RetinaNet")

PRESETS = {preset: detector for detector in _DETECTORS for preset in detector.presets_by_name}


def from_preset(preset, num_classes, **settings):
    """Builds any detector by the name of its preset.

    Args:
        preset: string, a key of `PRESETS`.
        num_classes: int.
        **settings: see `harmonic_tf.models.detector.Detector.from_preset`.

    Raises:
        ValueError: if there is no such preset.

    Example:

    >>> from_preset("ssd_tiny", num_classes=3).image_size
    (160, 208)
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset {preset!r}; there are {', '.join(sorted(PRESETS))}.")
    return PRESETS[preset].from_preset(preset, num_classes=num_classes, **settings)
