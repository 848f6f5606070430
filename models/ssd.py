"""SSD (Liu et al. 2016) on a feature pyramid, the SSD300 and SSD512 of the HarmonicDet paper."""

import keras

from harmonic_tf.models.anchors import ssd_anchor_shapes
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.schedules import SSD_LITE, TINY
from harmonic_tf.models.single_shot import (
    MATCHING,
    NEGATIVE_RATIO,
    SingleShot,
    as_shapes,
    backbone_maps,
    cell_anchors,
    predict_rows,
    preset,
)
from harmonic_tf.models.stages import Dense


@keras.saving.register_keras_serializable(package="harmonic_tf")
class SSD(SingleShot):
    """Single-shot detector: one 3x3 convolution a level predicts the boxes and classes of anchors.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_shapes: for each pyramid level its anchors' (width, height) in pixels.
        levels: the backbone's levels that enter the feature pyramid, finest first. The pyramid
            gets as many extra levels as there are more `anchor_shapes`.
        filters: int, channels of the feature pyramid; or None, as in the original SSD: the heads
            read the backbone's own levels.
        last_padding: `"same"` or `"valid"`: see `harmonic_tf.models.layers.pyramid.FeaturePyramid`.
        separable: bool. Whether the 3x3 convolutions of pyramid and heads are separable ones, as in
            SSDLite (Sandler et al. 2018).
        steps: for each map the pixels between its anchors' centres, as in torchvision's SSD300;
            None for the image's side over the map's.
        **settings: `score_threshold`, `nms_threshold`, `max_detections`, `resize` and `name`, as of
            `harmonic_tf.models.detector.Detector`.

    Example:

    >>> model = SSD.from_preset("ssd_tiny", num_classes=3)
    >>> model.compile("adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        anchor_shapes=None,
        levels=("P3", "P4", "P5"),
        filters=256,
        last_padding="same",
        separable=False,
        steps=None,
        **settings,
    ):
        anchor_shapes = as_shapes(anchor_shapes or _SSD300_SHAPES)
        images, features = backbone_maps(backbone, levels)
        if filters is None:
            maps = [features[level] for level in levels]
        else:
            extra_levels = len(anchor_shapes) - len(levels)
            pyramid = FeaturePyramid(
                levels, extra_levels, filters, last_padding, separable, name="pyramid"
            )
            maps = pyramid(features)
        columns = {"box": 4, "classification": num_classes + 1}
        outputs = predict_rows(maps, anchor_shapes, columns, separable)
        boxes = Dense(
            name="boxes",
            num_classes=num_classes,
            anchors=cell_anchors(images, maps, anchor_shapes, steps),
            targets=MATCHING,
            negative_ratio=NEGATIVE_RATIO,
        )
        super().__init__(
            keras.Model(images, outputs, name="network"),
            [boxes],
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "anchor_shapes": anchor_shapes,
                "levels": tuple(levels),
                "filters": filters,
                "last_padding": last_padding,
                "separable": separable,
                "steps": None if steps is None else tuple(steps),
            },
            **settings,
        )


# The anchor sizes of the published SSD300 and SSD512 for PASCAL VOC, in pixels.
_SSD300_SHAPES = ssd_anchor_shapes(
    (30, 60, 111, 162, 213, 264, 315), ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
)
_SSD512_SHAPES = ssd_anchor_shapes(
    (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
)
TINY_SHAPES = ssd_anchor_shapes((16, 30, 58, 104, 160), ((2,), (2,), (2,), (2,)))
# From anchors of 10 pixels to those of nearly the whole image.
LITE_SHAPES = ssd_anchor_shapes((10, 24, 56, 108, 176, 256), ((2,), (2, 3), (2, 3), (2, 3), (2,)))

SSD.presets = {
    "ssd300_resnet50_fpn": preset(
        "resnet50", (300, 300), anchor_shapes=_SSD300_SHAPES, last_padding="valid"
    ),
    "ssd512_resnet50_fpn": preset("resnet50", (512, 512), anchor_shapes=_SSD512_SHAPES),
    "ssd300_vgg16": preset(
        "vgg16",
        (300, 300),
        anchor_shapes=_SSD300_SHAPES,
        levels=("P3", "P4", "P5", "P6", "P7", "P8"),
        filters=None,
    ),
    "ssd_tiny": preset("tiny", (160, 208), TINY, anchor_shapes=TINY_SHAPES, filters=64),
    "ssd_lite": preset(
        "efficientnet_lite0",
        (256, 256),
        SSD_LITE,
        anchor_shapes=LITE_SHAPES,
        filters=96,
        separable=True,
    ),
}
