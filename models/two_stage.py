"""What Faster, Mask and Cascade R-CNN share: an RPN on a feature pyramid, and heads for regions."""

from typing import NamedTuple

import keras
from keras import layers

from harmonic_tf.boxes import MAX_LOG_SIZE
from harmonic_tf.coders import TORCHVISION_LARGEST, CenterSize
from harmonic_tf.models.anchors import (
    corner_anchors,
    grid_anchors,
    ratio_anchor_shapes,
    rounded_anchor_shapes,
)
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.layers.roi_align import RegionFeatures, flatten_features
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.region_heads import box_head
from harmonic_tf.models.rpn import RPNHead
from harmonic_tf.models.sampling import Sampler
from harmonic_tf.models.schedules import FULL_SIZE, LITE, TINY
from harmonic_tf.models.stages import Dense, Region

RATIOS = (0.5, 1.0, 2.0)
ROI_SIZE = 7
POSITIVE_FRACTION = 0.25
_RPN_MATCHING = Matching(positive=0.7, negative=0.3, force=True)


class Head(NamedTuple):
    """A region head, as a detector asks for it.

    Attributes:
        name: string.
        iou: float. IoU from which a region is positive; below, it is background.
        variance: 4 floats that its deltas are divided by.
        boxes_a_region: int. 1, or one for each class.
        harmonized: bool. Whether the compiled loss is its own, or the standard one.
    """

    name: str = "head"
    iou: float = 0.5
    variance: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    boxes_a_region: int = 1
    harmonized: bool = True


class TwoStage(Detector):
    """A region proposal network (RPN), then heads that look at each region, one after another.

    The compiled loss is that of the last head. The regions of the first one are in training a
    sample of the proposals and the ground truth; those of a later one are the boxes that the head
    before makes of its own. No gradient flows through regions. The RPN has the standard loss over
    object and background, on a sample of the anchors, divided by its size. In training the network
    returns the first stage alone, and the heads run in `compute_loss`: one pass through the
    backbone a step. Otherwise the model returns the predictions of the contract for its regions,
    `"reference_boxes"` `(B, R, 4)` in pixels.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        heads: sequence of `Head`.
        branch: function of the `RegionFeatures` that makes a branch, or None.
        settings: dictionary of the subclass's own arguments, for its config.
        levels: the backbone's levels that enter the feature pyramid, finest first; the RPN has a
            coarser one besides.
        anchor_sizes: square root of the anchors' area in pixels, for each of the RPN's levels;
            each has the ratios 1/2, 1 and 2.
        filters: int. Channels of the feature pyramid.
        head_units: int. Units of each of a head's two dense layers.
        rpn_batch_size_per_image: int. Anchors that the RPN learns from, at most half positives.
        head_batch_size_per_image: int. Regions that the heads learn from, at most a quarter of
            them positives of the first.
        proposals: pair of ints. Proposals before NMS, of each level, and after it, of an image.
        harmonize_rpn: bool. Whether the compiled loss is also that of the RPN.
        separable: bool. Whether the 3x3 convolutions of the pyramid are separable ones.
        torchvision: bool. Whether anchors and RoIAlign are those of torchvision's
            `fasterrcnn_resnet50_fpn`, for weights of that network.
        **detection: `score_threshold`, `nms_threshold`, `max_detections`, `resize` and `name`, as
            of `harmonic_tf.models.detector.Detector`.
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format,
        heads,
        branch=None,
        settings=None,
        *,
        levels=("P2", "P3", "P4", "P5"),
        anchor_sizes=(32, 64, 128, 256, 512),
        filters=256,
        head_units=1024,
        rpn_batch_size_per_image=256,
        head_batch_size_per_image=512,
        proposals=(2000, 1000),
        harmonize_rpn=False,
        separable=False,
        torchvision=False,
        **detection,
    ):
        network, sizes = _network(backbone, levels, filters, separable)
        features = RegionFeatures(
            sizes[: len(levels)],
            tuple(backbone.input_shape[1:3]),
            filters,
            levels[0],
            aligned=not torchvision,
        )
        largest = TORCHVISION_LARGEST if torchvision else MAX_LOG_SIZE
        rpn = Dense(
            name="rpn",
            key_prefix="rpn_",
            num_classes=1,
            anchors=_anchors(sizes, anchor_sizes, levels[0] if torchvision else None),
            coder=CenterSize(largest=largest),
            level_sizes=tuple(len(RATIOS) * height * width for height, width in sizes),
            proposals=tuple(proposals),
            targets=_RPN_MATCHING,
            sampler=Sampler(rpn_batch_size_per_image, 0.5),
            sampled=lambda outputs, index: network.get_layer("rpn")(outputs["cells"], index),
            harmonized=harmonize_rpn,
            detects=False,
        )
        networks = [
            box_head(ROI_SIZE, filters, head_units, num_classes, head.boxes_a_region, head.name)
            for head in heads
        ]
        branches = [] if branch is None else [branch(features)]
        batch = head_batch_size_per_image
        super().__init__(
            network,
            [rpn, *_regions(heads, networks, features, num_classes, batch, largest)],
            branches,
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "levels": tuple(levels),
                "anchor_sizes": tuple(anchor_sizes),
                "filters": filters,
                "head_units": head_units,
                "rpn_batch_size_per_image": rpn_batch_size_per_image,
                "head_batch_size_per_image": head_batch_size_per_image,
                "proposals": tuple(proposals),
                "harmonize_rpn": harmonize_rpn,
                "separable": separable,
                "torchvision": torchvision,
                **(settings or {}),
            },
            **detection,
        )
        self.heads = networks
        self.branch_networks = [branch.network for branch in branches]


def _network(backbone, levels, filters, separable):
    """The network up to the RPN, and (height, width) of its maps, which all have anchors."""
    images = keras.Input(backbone.input_shape[1:], name="images")
    features = pyramid_features(backbone, levels)(images)
    maps = FeaturePyramid(levels, 0, filters, separable=separable, name="pyramid")(features)
    maps = [*maps, layers.MaxPooling2D(1, 2, padding="same", name="coarser")(maps[-1])]
    rpn = RPNHead(len(RATIOS), filters, name="rpn")(maps)
    outputs = {"cells": flatten_features(maps), **{f"rpn_{key}": x for key, x in rpn.items()}}
    return keras.Model(images, outputs, name="network"), [tuple(x.shape[1:3]) for x in maps]


def _anchors(sizes, anchor_sizes, finest):
    """Anchors on the cells of maps; as in torchvision if the first map's level is given."""
    if finest is None:
        shapes = ratio_anchor_shapes(anchor_sizes, RATIOS)
        return lambda image_size: grid_anchors(image_size, sizes, shapes)
    strides = [2 ** (int(finest[1:]) + i) for i in range(len(sizes))]
    shapes = rounded_anchor_shapes([(size,) for size in anchor_sizes], RATIOS)
    return lambda image_size: corner_anchors(image_size, strides, shapes)


def _regions(heads, networks, features, num_classes, batch, largest):
    """The stages of the heads, each after the one before; the last detects."""
    before = "rpn"
    for head, network in zip(heads, networks, strict=True):
        is_last = head is heads[-1]
        yield Region(
            name=head.name,
            key_prefix="" if is_last else f"{head.name}_",
            num_classes=num_classes,
            after=before,
            head=network,
            pool=lambda outputs, regions: features(outputs["cells"], regions, ROI_SIZE),
            targets=Matching(positive=head.iou, negative=head.iou),
            coder=CenterSize(head.variance, largest),
            sampler=Sampler(batch, POSITIVE_FRACTION) if before == "rpn" else None,
            harmonized=head.harmonized,
            detects=is_last,
            averaged=tuple(x.name for x in heads[:-1]) if is_last else (),
        )
        before = head.name


def presets(family, tiny=TINY, **small):
    """The presets of Faster R-CNN and its kin.

    Args:
        family: string that their names begin with.
        tiny: how the tiny one is trained; see `models.schedules`.
        **small: further arguments of the detector in the tiny and the lite one.

    Returns:
        Dictionary of name to `Preset`.
    """
    return {
        **{
            f"{family}_{backbone}_fpn": Preset(backbone, (800, 800), training=FULL_SIZE)
            for backbone in ("resnet50", "resnet101", "resnext101_32x8d")
        },
        f"{family}_tiny": Preset("tiny", (160, 208), {**_TINY, **small}, tiny),
        f"{family}_lite": Preset("efficientnet_lite0", (256, 256), {**_LITE, **small}, LITE),
    }


_TINY = {
    "levels": ("P3", "P4", "P5"),
    "anchor_sizes": (20, 40, 76, 130),
    "filters": 64,
    "head_units": 128,
    "rpn_batch_size_per_image": 128,
    "head_batch_size_per_image": 64,
    "proposals": (200, 100),
}
_LITE = {**_TINY, "anchor_sizes": (14, 34, 76, 160), "head_units": 256, "separable": True}
