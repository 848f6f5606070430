"""RefineDet (Zhang et al. 2018): anchors are refined and filtered before they are classified."""

import keras
from keras import layers

from harmonic_tf.models.anchors import ratio_anchor_shapes
from harmonic_tf.models.schedules import LITE, TINY
from harmonic_tf.models.single_shot import (
    MATCHING,
    NEGATIVE_RATIO,
    SingleShot,
    add_levels,
    as_shapes,
    backbone_maps,
    cell_anchors,
    convolution,
    deconvolution,
    predict_rows,
    preset,
)
from harmonic_tf.models.stages import Dense


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RefineDet(SingleShot):
    """Single-shot refinement detector.

    The anchor refinement module (ARM) tells objects from background and moves the anchors; its
    features go through transfer connection blocks to the object detection module (ODM), which
    classifies the refined anchors and moves them again. Anchors that the ARM is sure to be
    background are left out of the ODM: of its negatives in training, of its boxes in detection.

    The compiled loss is that of the ODM, whose deltas are relative to the refined anchors; no
    gradient flows through these. The ARM has the standard loss over object and background.

    Predictions are those of the contract for the ODM, and `"arm_box"` `(B, A, 4)` and
    `"arm_classification"` `(B, A, 2)` (object, background) for the ARM.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_shapes: for each map its anchors' (width, height) in pixels. As many extra maps are
            added as there are more of these than `levels`.
        levels: the backbone's levels that are used, finest first.
        filters: int. Channels of the ODM's feature maps; an extra map has twice as many.
        negative_threshold: float. Anchors with a higher probability of background are left out of
            the ODM.
        harmonize_arm: bool. Whether the compiled loss is also that of the ARM.
        separable: bool. Whether the convolutions that predict are separable ones.
        **settings: as of `SSD`.

    Example:

    >>> model = RefineDet.from_preset("refinedet_tiny", num_classes=3)
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
        negative_threshold=0.99,
        harmonize_arm=False,
        separable=False,
        **settings,
    ):
        anchor_shapes = as_shapes(anchor_shapes or _SHAPES)
        images, maps = backbone_maps(backbone, levels)
        maps = [maps[level] for level in levels]
        maps = add_levels(maps, len(anchor_shapes) - len(levels), 2 * filters)
        columns = {"arm_box": 4, "arm_classification": 2}
        arm = predict_rows(maps, anchor_shapes, columns, separable)
        columns = {"box": 4, "classification": num_classes + 1}
        odm = predict_rows(transferred(maps, filters), anchor_shapes, columns, separable)
        anchors = cell_anchors(images, maps, anchor_shapes)
        shared = {"anchors": anchors, "targets": MATCHING, "negative_ratio": NEGATIVE_RATIO}
        stages = [
            Dense(
                name="arm",
                num_classes=1,
                key_prefix="arm_",
                harmonized=harmonize_arm,
                detects=False,
                **shared,
            ),
            Dense(
                name="odm",
                num_classes=num_classes,
                after="arm",
                gate=negative_threshold,
                **shared,
            ),
        ]
        super().__init__(
            keras.Model(images, {**odm, **arm}, name="network"),
            stages,
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "anchor_shapes": anchor_shapes,
                "levels": tuple(levels),
                "filters": filters,
                "negative_threshold": negative_threshold,
                "harmonize_arm": harmonize_arm,
                "separable": separable,
            },
            **settings,
        )


def transferred(maps, filters):
    """The transfer connection blocks (section 3.1): each map, and the coarser ones upsampled.

    Args:
        maps: list of feature maps, finest first.
        filters: int. Channels of the results.

    Returns:
        List of feature maps of the same sizes.
    """
    results = []
    for i in reversed(range(len(maps))):
        name = f"transfer_{i}"
        x = convolution(maps[i], filters, activation="relu", name=f"{name}_1")
        x = convolution(x, filters, name=f"{name}_2")
        if results:
            coarse = deconvolution(results[0], x, filters, name)
            x = layers.Add(name=f"{name}_sum")([x, coarse])
        x = layers.ReLU(name=f"{name}_relu")(x)
        results.insert(0, convolution(x, filters, activation="relu", name=f"{name}_3"))
    return results


_RATIOS = (0.5, 1.0, 2.0)
# Four times the stride of each map, and the paper's aspect ratios.
_SHAPES = ratio_anchor_shapes((32, 64, 128, 256), _RATIOS)
_TINY_SHAPES = ratio_anchor_shapes((20, 40, 76, 130), _RATIOS)
_LITE_SHAPES = ratio_anchor_shapes((14, 34, 76, 160), _RATIOS)

RefineDet.presets = {
    **{
        f"refinedet{size}_{backbone}": preset(backbone, (size, size), anchor_shapes=_SHAPES)
        for size in (320, 512)
        for backbone in ("resnet50", "resnet101")
    },
    "refinedet_tiny": preset("tiny", (160, 208), TINY, anchor_shapes=_TINY_SHAPES, filters=48),
    "refinedet_lite": preset(
        "efficientnet_lite0",
        (256, 256),
        LITE,
        anchor_shapes=_LITE_SHAPES,
        filters=48,
        separable=True,
    ),
}
