"""A small residual network for a CPU, trained from scratch."""

from keras import layers

from harmonic_tf.models.backbones.levels import LEVELS
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.normalization import BatchNormalization


def tiny(images):
    """A residual network of 0.8 million parameters; P3 has 64 channels, P5 160."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)
    x = _convolution(x, 16, strides=2, name="stem")
    levels = {"P2": _convolution(x, 32, strides=2, name="P2")}
    x = levels["P2"]
    for level, filters, blocks in zip(LEVELS[1:], (64, 96, 160), (2, 2, 1), strict=True):
        for block in range(blocks):
            x = _residual(x, filters, strides=1 if block else 2, name=f"{level}_block{block}")
        levels[level] = x
    return levels


def _residual(x, filters, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        if strides > 1:
            shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
        shortcut = _convolution(shortcut, filters, size=1, relu=False, name=f"{name}_shortcut")
    x = _convolution(x, filters, strides=strides, name=f"{name}_1")
    x = _convolution(x, filters, relu=False, name=f"{name}_2")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x, filters, size=3, strides=1, relu=True, name=None):
    x = Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
