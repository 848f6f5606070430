"""The EfficientNetV2s of Keras applications, from the stages that end at each stride."""

from harmonic_tf.models.backbones.applications import application
from harmonic_tf.models.backbones.levels import LEVELS

_STAGES = ("block2", "block3", "block5", "block6")


def efficientnet_v2(name):
    """A Keras EfficientNetV2, which prepares images by itself."""
    return application(f"EfficientNetV2{name}", dict(zip(LEVELS, _STAGES, strict=True)))
