"""Networks from images to feature maps, one a pyramid level, and where their weights come from."""

from harmonic_tf.models.backbones.backbone import (
    PyramidBackbone,
    build_backbone,
    level_layer_names,
    pyramid_features,
)

__all__ = ["PyramidBackbone", "build_backbone", "level_layer_names", "pyramid_features"]
