"""A detector of torchvision's, and what its parts are called here and there."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harmonic_tf.models.backbones.torch_weights import dots, layer_places, with_rows

_ONES = (1.0, 1.0, 1.0, 1.0)


class Family(NamedTuple):
    """A detector that torchvision publishes.

    Attributes:
        name: string, torchvision's.
        preset: string, ours.
        has: tuple of strings. Tensors by which a state dict is known to be of it.
        logits: name of the bias of the scores.
        places: function of our detector and of its `Classes` to the places of all tensors.
        image_size: (height, width) of the input, unless the user wants another.
        settings: further arguments of our detector.
        backbone: string, ours.
        any_size: bool. Whether images may have another size.
        outputs_a_class: int. Scores of a class in `logits`.
        softmax: bool. Whether the first score is that of the background.
        epsilon: float. What the published network adds to the variances of its batch
            normalisation: 0 in those that were trained before torchvision added any.
    """

    name: str
    preset: str
    has: tuple[str, ...]
    logits: str
    places: Callable
    image_size: tuple[int, int]
    settings: dict
    backbone: str = "resnet50_torchvision"
    any_size: bool = True
    outputs_a_class: int = 1
    softmax: bool = False
    epsilon: float = 1e-5


def resnet_fpn_places(model, extra_levels=()):
    """The places of a ResNet and of the feature pyramid on it.

    Args:
        model: a detector on `"resnet50_torchvision"`.
        extra_levels: names of the pyramid's coarser levels in torchvision.

    Returns:
        Dictionary of `harmonic_tf.models.backbones.torch_weights.Place`.
    """
    found = {}
    for layer in model.backbone.layers:
        found |= layer_places(layer, f"backbone.body.{dots(layer.name)}")
    pyramid = model.network.get_layer("pyramid")
    for i, (lateral, refinement) in enumerate(
        zip(pyramid.laterals, pyramid.refinements, strict=True)
    ):
        found |= layer_places(lateral, f"backbone.fpn.inner_blocks.{i}.0")
        found |= layer_places(refinement, f"backbone.fpn.layer_blocks.{i}.0")
    for level, extra in zip(extra_levels, pyramid.extras, strict=True):
        found |= layer_places(extra, f"backbone.fpn.extra_blocks.{level}")
    return found


def score_places(layer, torch_name, index, count, anchors=1):
    """The places of a layer that predicts scores, of which `index` are kept.

    Args:
        layer: Keras layer.
        torch_name: string.
        index: for each score of ours torchvision's.
        count: int. torchvision's scores, of each anchor.
        anchors: int. Anchors of a cell.
    """
    rows = np.add.outer(count * np.arange(anchors), index).ravel()
    return with_rows(layer_places(layer, torch_name), rows, anchors * count)


def delta_places(layer, torch_name, boxes, variance=_ONES, index=None):
    """The places of a layer that predicts deltas in the order x, y, width, height.

    Ours are in the order y, x, height, width.

    Args:
        layer: Keras layer.
        torch_name: string.
        boxes: int. torchvision's, of each cell or region.
        variance: 4 floats that ours are divided by, and torchvision's not.
        index: for each box of ours torchvision's; None for all.
    """
    index = np.arange(boxes) if index is None else np.asarray(index)
    return with_rows(
        layer_places(layer, torch_name),
        np.add.outer(4 * index, (1, 0, 3, 2)).ravel(),
        4 * boxes,
        np.tile(1 / np.asarray(variance), len(index)),
    )
