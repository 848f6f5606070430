"""EfficientNet-Lite (Tan & Le 2019, made for phones and CPUs): no squeeze-and-excitation, ReLU6."""

import re
from math import ceil

from keras import layers

from harmonic_tf.models.backbones.levels import LEVELS
from harmonic_tf.models.backbones.torch_weights import load_state_dict
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.normalization import BatchNormalization

_STEM = 32
# Of each stage: blocks, kernel, strides, channels that a block computes with for each it takes in,
# and channels it gives.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The stages after which the next halves the map, and the last.
_LEVEL_OF_STAGE = dict(zip((1, 2, 4, 6), LEVELS, strict=True))


def efficientnet_lite(width, depth):
    """An EfficientNet-Lite, of which stem and number of blocks at both ends are not scaled.

    Args:
        width: float. What the channels of the stages are multiplied by.
        depth: float. What the number of their blocks is multiplied by.

    Returns:
        A function from images `(B, H, W, 3)`, values 0 to 255, RGB, to a dictionary of levels.
    """

    def features(images):
        x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(images)
        x = _convolution(x, _STEM, 3, "conv_stem", "bn0", strides=2)
        levels = {}
        block = 0
        for stage, (blocks, size, strides, expansion, filters) in enumerate(_STAGES):
            at_an_end = stage in (0, len(_STAGES) - 1)
            for i in range(blocks if at_an_end else ceil(depth * blocks)):
                x = _inverted_residual(
                    x,
                    _scaled(filters, width),
                    size,
                    strides=1 if i else strides,
                    expansion=expansion,
                    name=f"block{block}",
                )
                block += 1
            if stage in _LEVEL_OF_STAGE:
                levels[_LEVEL_OF_STAGE[stage]] = x
        return levels

    return features


def _scaled(filters, width):
    """The nearest multiple of 8, or the next if that is less than 90 %."""
    nearest = max(8, int(filters * width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters * width else nearest


def _inverted_residual(x, filters, size, strides, expansion, name):
    shortcut = x
    if expansion > 1:
        x = _convolution(x, expansion * x.shape[-1], 1, f"{name}_expand_conv", f"{name}_bn0")
    x = layers.DepthwiseConv2D(
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise_conv",
    )(x)
    x = _normalized(x, f"{name}_bn1")
    x = _convolution(x, filters, 1, f"{name}_project_conv", f"{name}_bn2", relu=False)
    if x.shape[-1] == shortcut.shape[-1] and strides == 1:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _convolution(x, filters, size, name, norm_name, strides=1, relu=True):
    x = Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return _normalized(x, norm_name, relu)


def _normalized(x, name, relu=True):
    x = BatchNormalization(momentum=0.9, epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def load_efficientnet_lite(network, path):
    """Loads a state dict of the PyPI package `efficientnet-lite-pytorch`, without its classifier.

    Args:
        network: a model with the same `efficientnet_lite`.
        path: string. The file.

    Raises:
        ValueError: if it is no such file, or of another network.
    """
    load_state_dict(network, path, _torch_name, ("_conv_head.", "_bn1.", "_fc."))


def _torch_name(name):
    """`"_blocks.3._bn1"` for the layer `"block3_bn1"`, `"_conv_stem"` for `"conv_stem"`."""
    return "_" + re.sub(r"^block(\d+)_", r"blocks.\1._", name)
