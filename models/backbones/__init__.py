"""Networks from images to feature maps, one a pyramid level, and where their weights come from."""

from harmonic_tf.models.backbones.backbone import (
    PyramidBackbone,
    available_weights,
    build_backbone,
    freeze,
    level_layer_names,
    pyramid_features,
)
from harmonic_tf.models.backbones.presets import PreparedBackbone

__all__ = [
    "PreparedBackbone",
    "PyramidBackbone",
    "available_weights",
    "build_backbone",
    "freeze",
    "level_layer_names",
    "pyramid_features",
]
