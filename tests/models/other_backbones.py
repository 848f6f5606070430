"""Backbones of other libraries, as small as they come."""

import keras_cv
import pytest

from harmonic_tf import models

LIBRARIES = ["kerascv", "kerashub"]


def ssd_on(library):
    """An SSD for images of 64 x 64 px, with an anchor a cell on four maps."""
    anchors = [[(16, 16)]] * 4
    return models.SSD(small_resnet(library), num_classes=2, anchor_shapes=anchors, filters=8)


def small_resnet(library, image_shape=(64, 64, 3)):
    """A ResNet of one block a stage."""
    if library == "kerascv":
        return keras_cv.models.ResNetBackbone(
            stackwise_filters=[64, 8, 8, 8],
            stackwise_blocks=[1, 1, 1, 1],
            stackwise_strides=[1, 2, 2, 2],
            block_type="basic_block",
            include_rescaling=True,
            input_shape=image_shape,
        )
    return pytest.importorskip("keras_hub").models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=image_shape,
    )
