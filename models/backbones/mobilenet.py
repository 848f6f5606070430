"""MobileNetV2 and V3 (large) of Keras applications, from the blocks that end at each stride."""

from keras import layers

from harmonic_tf.models.backbones.applications import application
from harmonic_tf.models.backbones.levels import LEVELS


def _between_minus_one_and_one(images):
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)


mobilenet_v2 = application(
    "MobileNetV2",
    dict(zip(LEVELS, ("block_2_", "block_5_", "block_12_", "block_16_"), strict=True)),
    _between_minus_one_and_one,
)
# Prepares images by itself.
mobilenet_v3_large = application(
    "MobileNetV3Large",
    dict(
        zip(
            LEVELS,
            ("expanded_conv_2_", "expanded_conv_5_", "expanded_conv_11_", "expanded_conv_14_"),
            strict=True,
        )
    ),
)
