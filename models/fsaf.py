"""FSAF (Zhu et al. 2019): RetinaNet, with a branch without anchors that picks its levels."""

import math

import keras
from keras import layers

from harmonic_tf.coders import Distances
from harmonic_tf.models.anchors import (
    octave_anchor_shapes,
    strided_anchors,
    strided_squares,
)
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.distances import positive
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.level_selection import LevelSelection
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.retinanet import OCTAVES, RATIOS, shared_heads
from harmonic_tf.models.schedules import FSAF_TINY
from harmonic_tf.models.stages import Dense

ANCHORS = len(RATIOS) * OCTAVES
# What distances are divided by, beside the stride (Zhu et al.'s S), and where they then start.
NORMALIZER = 4.0
START = 0.5


@keras.saving.register_keras_serializable(package="harmonic_tf")
class FSAF(Detector):
    """RetinaNet with a feature selective anchor-free branch.

    Both branches share RetinaNet's heads, are trained together and detect together: one NMS merges
    what they find. Which level learns an object without anchors is chosen in each step, by the loss
    there. The compiled loss is that of both; the standard loss of boxes is smooth L1 with anchors,
    -ln IoU without.

    Predictions are those of the contract without anchors, where `"box"` holds the distances from
    each location to the left, top, right and bottom edge in strides, and `"anchor_based_box"` and
    `"anchor_based_classification"` with anchors.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone; its
            input may be of any size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        levels: as of `RetinaNet`.
        anchor_sizes: as of `RetinaNet`.
        filters: int. Channels of the feature pyramid.
        depth: int. 3x3 convolutions of a head before its prediction.
        force: as of `RetinaNet`.
        effective: float. Sides of the region in which an object is learned without anchors, in
            those of its box.
        ignored: float. Sides of the region in which it is no background.
        **settings: `score_threshold`, `nms_threshold`, `max_detections`, `resize` and `name`, as of
            `harmonic_tf.models.detector.Detector`.

    Example:

    >>> model = FSAF.from_preset("fsaf_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        levels=("P3", "P4", "P5"),
        anchor_sizes=(32, 64, 128, 256, 512),
        filters=256,
        depth=4,
        force=True,
        effective=0.2,
        ignored=0.5,
        **settings,
    ):
        images = keras.Input(backbone.input_shape[1:], name="images")
        features = pyramid_features(backbone, levels)(images)
        extra_levels = len(anchor_sizes) - len(levels)
        maps = FeaturePyramid(levels, extra_levels, filters, name="pyramid")(features)
        outputs = branches(
            shared_heads(maps, num_classes, ANCHORS + 1, depth, filters, separable=False)
        )
        shapes = octave_anchor_shapes(anchor_sizes, RATIOS, OCTAVES)
        strides = [2 ** (int(levels[0][1:]) + i) for i in range(len(anchor_sizes))]
        shared = {"num_classes": num_classes, "classification": "focal"}
        stages = [
            Dense(
                name="anchor_based",
                key_prefix="anchor_based_",
                anchors=lambda image_size: strided_anchors(image_size, strides, shapes),
                targets=Matching(positive=0.5, negative=0.4, force=force),
                **shared,
            ),
            Dense(
                name="anchor_free",
                anchors=lambda image_size: strided_squares(image_size, strides),
                targets=LevelSelection(effective, ignored),
                coder=Distances(),
                box_loss="log_iou",
                **shared,
            ),
        ]
        super().__init__(
            keras.Model(images, outputs, name="network"),
            stages,
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "levels": tuple(levels),
                "anchor_sizes": tuple(anchor_sizes),
                "filters": filters,
                "depth": depth,
                "force": force,
                "effective": effective,
                "ignored": ignored,
            },
            **settings,
        )


def branches(outputs):
    """Of RetinaNet's outputs for an anchor more a cell, the last one read without an anchor."""
    found = {}
    for name, rows in outputs.items():
        size = rows.shape[-1]
        cells = layers.Reshape((-1, ANCHORS + 1, size), dtype="float32")(rows)
        anchors = layers.Reshape((-1, size), dtype="float32")(cells[:, :, :ANCHORS])
        found[f"anchor_based_{name}"] = anchors
        found[name] = cells[:, :, ANCHORS]
    return {**found, "box": NORMALIZER * positive(found["box"] + math.log(START))}


FSAF.presets = {
    "fsaf_resnet50_fpn": Preset("resnet50", (800, 800)),
    "fsaf_resnext101_32x8d_fpn": Preset("resnext101_32x8d", (800, 800)),
    "fsaf_tiny": Preset(
        "tiny",
        (160, 208),
        {"anchor_sizes": (12, 24, 48, 96), "filters": 64, "depth": 2},
        FSAF_TINY,
    ),
}
