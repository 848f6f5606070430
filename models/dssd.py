"""DSSD (Fu et al. 2017): SSD with deconvolution modules that carry context to the finer maps."""

import keras
from keras import layers

from harmonic_tf.models.anchors import ssd_anchor_shapes
from harmonic_tf.models.layers.normalization import BatchNormalization
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
from harmonic_tf.models.ssd import LITE_SHAPES, TINY_SHAPES
from harmonic_tf.models.stages import Dense


@keras.saving.register_keras_serializable(package="harmonic_tf")
class DSSD(SingleShot):
    """Deconvolutional single-shot detector.

    Coarser maps are added to the backbone's as in SSD; from the coarsest on, each is upsampled by a
    deconvolution and multiplied with the next finer one; a residual prediction module (the paper's
    variant c) stands before every head.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_shapes: for each map its anchors' (width, height) in pixels. As many extra maps are
            added as there are more of these than `levels`.
        levels: the backbone's levels that are used, finest first.
        filters: int. Channels of the extra and of the deconvolved maps.
        last_padding: `"same"` or `"valid"`: see `harmonic_tf.models.single_shot.add_levels`.
        **settings: as of `SSD`.

    Example:

    >>> model = DSSD.from_preset("dssd_tiny", num_classes=3)
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
        filters=512,
        last_padding="same",
        **settings,
    ):
        anchor_shapes = as_shapes(anchor_shapes or _DSSD320_SHAPES)
        images, maps = backbone_maps(backbone, levels)
        maps = [maps[level] for level in levels]
        maps = add_levels(maps, len(anchor_shapes) - len(levels), filters, last_padding)
        maps = deconvolved(maps, filters)
        features = [prediction_module(x, filters, name=f"module_{i}") for i, x in enumerate(maps)]
        outputs = predict_rows(
            features, anchor_shapes, {"box": 4, "classification": num_classes + 1}
        )
        boxes = Dense(
            name="boxes",
            num_classes=num_classes,
            anchors=cell_anchors(images, maps, anchor_shapes),
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
            },
            **settings,
        )


def deconvolved(maps, filters):
    """The deconvolution modules (section 3.3): a product of each map with the coarser ones.

    Args:
        maps: list of feature maps, finest first. The coarsest stays as it is.
        filters: int. Channels of the others.

    Returns:
        List of feature maps of the same sizes.
    """
    results = [maps[-1]]
    for i in reversed(range(len(maps) - 1)):
        name = f"merge_{i}"
        coarse = deconvolution(results[0], maps[i], filters, name)
        coarse = _normalized(coarse, filters, name=f"{name}_coarse")
        fine = _normalized(maps[i], filters, name=f"{name}_fine_1")
        fine = layers.ReLU(name=f"{name}_fine_relu")(fine)
        fine = _normalized(fine, filters, name=f"{name}_fine_2")
        product = layers.Multiply(name=f"{name}_product")([coarse, fine])
        results.insert(0, layers.ReLU(name=f"{name}_relu")(product))
    return results


def prediction_module(x, filters, name):
    """Variant (c) of the paper's Figure 2: one residual block of 1x1 convolutions."""
    branch = convolution(x, filters // 2, 1, activation="relu", name=f"{name}_1")
    branch = convolution(branch, filters // 2, 1, activation="relu", name=f"{name}_2")
    branch = convolution(branch, 2 * filters, 1, name=f"{name}_3")
    shortcut = convolution(x, 2 * filters, 1, name=f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")([branch, shortcut]))


def _normalized(x, filters, name):
    x = convolution(x, filters, use_bias=False, name=name)
    return BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _shapes(image_size, fractions):
    sizes = [image_size * fraction for fraction in fractions]
    return ssd_anchor_shapes(sizes, [(1.6, 2, 3)] * (len(sizes) - 1))


# The paper's scales, of an input of that size, and its aspect ratios.
_DSSD320_SHAPES = _shapes(320, (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05))
_DSSD512_SHAPES = _shapes(512, (0.04, 0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 1.06))

DSSD.presets = {
    "dssd320_resnet50": preset(
        "resnet50", (320, 320), anchor_shapes=_DSSD320_SHAPES, last_padding="valid"
    ),
    "dssd512_resnet50": preset("resnet50", (512, 512), anchor_shapes=_DSSD512_SHAPES),
    "dssd_tiny": preset("tiny", (160, 208), TINY, anchor_shapes=TINY_SHAPES, filters=48),
    "dssd_lite": preset(
        "efficientnet_lite0", (256, 256), LITE, anchor_shapes=LITE_SHAPES, filters=48
    ),
}
