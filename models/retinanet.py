"""RetinaNet (Lin et al. 2017): one dense prediction on a feature pyramid, with focal loss."""

import functools
import math

import keras
from keras import layers

from harmonic_tf.coders import TORCHVISION_LARGEST, CenterSize
from harmonic_tf.models.anchors import (
    corner_anchors,
    octave_anchor_shapes,
    rounded_anchor_shapes,
    strided_anchors,
)
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.convolution import Conv2D, SeparableConv2D
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.schedules import LITE, TINY
from harmonic_tf.models.stages import Dense

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = 3


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RetinaNet(Detector):
    """Single-stage detector with sigmoid scores, whose heads are shared by the pyramid's levels.

    The network, its anchors and targets are those of `keras_cv.models.RetinaNet`, but for `force`
    and the heads' depth, which is the paper's.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone; its
            input may be of any size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        levels: the backbone's levels that enter the feature pyramid, finest first. It has as many
            coarser ones as there are more `anchor_sizes`.
        anchor_sizes: for each pyramid level the square root of its smallest anchors' area in
            pixels; each has the ratios 1/2, 1 and 2 and the scales 1, 2^(1/3) and 2^(2/3).
        filters: int. Channels of the feature pyramid.
        depth: int. 3x3 convolutions of a head before its prediction.
        force: bool. Whether each object gets an anchor, whatever its IoU: about 3 % of objects
            have none above 0.5. torchvision and Detectron2 do so, KerasCV does not.
        separable: bool. Whether the 3x3 convolutions of pyramid and heads are separable ones, as in
            EfficientDet (Tan et al. 2020).
        torchvision: bool. Whether anchors, padding and the input of the coarser levels are those of
            torchvision's `retinanet_resnet50_fpn`, for weights of that network.
        **settings: `score_threshold`, `nms_threshold`, `max_detections`, `resize` and `name`, as of
            `harmonic_tf.models.detector.Detector`.

    Example:

    >>> model = RetinaNet.from_preset("retinanet_tiny", num_classes=3)
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
        separable=False,
        torchvision=False,
        **settings,
    ):
        images = keras.Input(backbone.input_shape[1:], name="images")
        features = pyramid_features(backbone, levels)(images)
        extra_levels = len(anchor_sizes) - len(levels)
        maps = FeaturePyramid(
            levels,
            extra_levels,
            filters,
            separable=separable,
            extra_input="pyramid" if torchvision else "backbone",
            symmetric=torchvision,
            name="pyramid",
        )(features)
        anchors_a_cell = len(RATIOS) * OCTAVES
        outputs = shared_heads(maps, num_classes, anchors_a_cell, depth, filters, separable)
        place, shapes = strided_anchors, octave_anchor_shapes(anchor_sizes, RATIOS, OCTAVES)
        if torchvision:
            place, shapes = corner_anchors, rounded_anchor_shapes(_octaves(anchor_sizes), RATIOS)
        strides = [2 ** (int(levels[0][1:]) + i) for i in range(len(anchor_sizes))]
        boxes = Dense(
            name="boxes",
            num_classes=num_classes,
            classification="focal",
            anchors=lambda image_size: place(image_size, strides, shapes),
            targets=Matching(positive=0.5, negative=0.4, force=force),
            coder=CenterSize(largest=TORCHVISION_LARGEST) if torchvision else CenterSize(),
        )
        super().__init__(
            keras.Model(images, outputs, name="network"),
            [boxes],
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "levels": tuple(levels),
                "anchor_sizes": tuple(anchor_sizes),
                "filters": filters,
                "depth": depth,
                "force": force,
                "separable": separable,
                "torchvision": torchvision,
            },
            **settings,
        )


def _octaves(sizes):
    """The sizes of a level's anchors, in whole pixels as torchvision has them."""
    return tuple(tuple(int(size * 2 ** (i / OCTAVES)) for i in range(OCTAVES)) for size in sizes)


def shared_heads(maps, num_classes, anchors_a_cell, depth, filters, separable):
    """The two heads on every level.

    Args:
        maps: list of feature maps `(B, H, W, F)`, finest first.
        num_classes: int C.
        anchors_a_cell: int.
        depth: int. 3x3 convolutions of a head before its prediction.
        filters: int. Their channels.
        separable: bool. Whether they are separable ones.

    Returns:
        `{"box": (B, A, 4), "classification": (B, A, C)}`, float32.
    """
    columns = {"classification": (num_classes, 0.01), "box": (4, None)}
    outputs = {}
    for name, (size, prior) in columns.items():
        settings = {"prior": prior, "separable": separable, "name": f"{name}_head"}
        head = RetinaNetHead(anchors_a_cell * size, depth, filters, **settings)
        rows = [layers.Reshape((-1, size), name=f"{name}_{i}")(head(x)) for i, x in enumerate(maps)]
        outputs[name] = layers.Concatenate(axis=1, dtype="float32", name=name)(rows)
    return outputs


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RetinaNetHead(layers.Layer):
    """Convolutions shared by all levels, then one that predicts.

    Args:
        outputs: int. Channels of the prediction.
        depth: int. 3x3 convolutions before it; 4 in the paper.
        filters: int. Their channels.
        prior: float or None. The score that a new head gives every anchor; None leaves the bias 0.
        separable: bool. Whether the convolutions are separable ones.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, outputs, depth=4, filters=256, prior=None, separable=False, **kwargs):
        super().__init__(**kwargs)
        self.settings = {
            "outputs": outputs,
            "depth": depth,
            "filters": filters,
            "prior": prior,
            "separable": separable,
        }
        bias = 0.0 if prior is None else math.log(prior / (1 - prior))
        convolution = Conv2D
        if separable:  # not normalised: the statistics of the levels differ
            convolution = functools.partial(SeparableConv2D, normalized=False)
        self.convolutions = [
            convolution(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                dtype=self.dtype_policy,
                name=f"convolution_{i}",
            )
            for i in range(depth)
        ]
        self.prediction = convolution(
            outputs,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(bias),
            dtype=self.dtype_policy,
            name="prediction",
        )

    def build(self, input_shape):
        for convolution in self.convolutions:
            convolution.build(input_shape)
            input_shape = (*input_shape[:-1], self.settings["filters"])
        self.prediction.build(input_shape)
        self.built = True

    def call(self, x):
        for convolution in self.convolutions:
            x = convolution(x)
        return self.prediction(x)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.settings["outputs"])

    def get_config(self):
        return {**super().get_config(), **self.settings}


RetinaNet.presets = {
    "retinanet_resnet50_fpn": Preset("resnet50", (800, 800)),
    "retinanet_resnext101_32x8d_fpn": Preset("resnext101_32x8d", (800, 800)),
    "retinanet_tiny": Preset(
        "tiny",
        (160, 208),
        {"anchor_sizes": (12, 24, 48, 96), "filters": 64, "depth": 2},
        TINY,
    ),
    "retinanet_lite": Preset(
        "efficientnet_lite0",
        (256, 256),
        {"anchor_sizes": (10, 22, 48, 100, 150), "filters": 64, "depth": 2, "separable": True},
        LITE,
    ),
}
