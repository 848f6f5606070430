"""The detectors, each with the names of its presets: a new detector is one line here.

Run by itself this file imports no Keras, so that the command line knows the names at once.
"""

import importlib
from collections.abc import Mapping

#: Class -> (module in `harmonic_tf.models`, names of the class's `presets`).
DETECTORS = {
    "SSD": ("ssd", "ssd300_resnet50_fpn ssd512_resnet50_fpn ssd300_vgg16 ssd_tiny ssd_lite"),
    "DSSD": ("dssd", "dssd320_resnet50 dssd512_resnet50 dssd_tiny dssd_lite"),
    "RefineDet": (
        "refinedet",
        "refinedet320_resnet50 refinedet320_resnet101 refinedet512_resnet50 refinedet512_resnet101"
        " refinedet_tiny refinedet_lite",
    ),
    "RetinaNet": (
        "retinanet",
        "retinanet_resnet50_fpn retinanet_resnext101_32x8d_fpn retinanet_tiny retinanet_lite",
    ),
    "FCOS": ("fcos", "fcos_resnet50_fpn fcos_resnext101_32x8d_fpn fcos_tiny"),
    "FSAF": ("fsaf", "fsaf_resnet50_fpn fsaf_resnext101_32x8d_fpn fsaf_tiny"),
    "FasterRCNN": (
        "faster_rcnn",
        "faster_rcnn_resnet50_fpn faster_rcnn_resnet101_fpn faster_rcnn_resnext101_32x8d_fpn"
        " faster_rcnn_tiny faster_rcnn_lite",
    ),
    "MaskRCNN": (
        "mask_rcnn",
        "mask_rcnn_resnet50_fpn mask_rcnn_resnet101_fpn mask_rcnn_resnext101_32x8d_fpn"
        " mask_rcnn_tiny mask_rcnn_lite",
    ),
    "CascadeRCNN": (
        "cascade_rcnn",
        "cascade_rcnn_resnet50_fpn cascade_rcnn_resnet101_fpn cascade_rcnn_resnext101_32x8d_fpn"
        " cascade_rcnn_tiny cascade_rcnn_lite",
    ),
    "CascadeMaskRCNN": (
        "cascade_mask_rcnn",
        "cascade_mask_rcnn_resnet50_fpn cascade_mask_rcnn_resnet101_fpn"
        " cascade_mask_rcnn_resnext101_32x8d_fpn cascade_mask_rcnn_tiny cascade_mask_rcnn_lite",
    ),
}


class Presets(Mapping):
    """Name of preset -> class of detector, which is imported when it is looked up."""

    def __init__(self):
        self._detectors = {
            preset: name for name, (_, presets) in DETECTORS.items() for preset in presets.split()
        }

    def __getitem__(self, preset):
        return detector_class(self._detectors[preset])

    def __contains__(self, preset):
        return preset in self._detectors

    def __iter__(self):
        return iter(self._detectors)

    def __len__(self):
        return len(self._detectors)


def detector_class(name):
    """The class of a detector, by its name."""
    module, _ = DETECTORS[name]
    return getattr(importlib.import_module(f"harmonic_tf.models.{module}"), name)


#: Name of preset -> class of detector.
PRESETS = Presets()


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
