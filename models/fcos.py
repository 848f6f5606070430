"""FCOS (Tian et al. 2019): each location of a feature pyramid predicts the box it lies in."""

import math

import keras
from keras import layers, ops

from harmonic_tf.coders import Distances
from harmonic_tf.models.anchors import corner_squares, strided_squares
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.center_sampling import CenterSampling
from harmonic_tf.models.centerness import CenternessBranch
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.distances import positive
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.schedules import FCOS_TINY
from harmonic_tf.models.stages import Dense

PRIOR = 0.01
GROUPS = 32


@keras.saving.register_keras_serializable(package="harmonic_tf")
class FCOS(Detector):
    """Single-stage detector without anchors: sigmoid scores, distances to four edges, centre-ness.

    Predictions are `"classification"` `(B, A, C)`, logits, `"box"` `(B, A, 4)`, the distances from
    each location to the left, top, right and bottom edge in strides, and `"centerness"` `(B, A)`,
    logits. A detection's score is the root of class score times centre-ness. The standard loss of
    its boxes is GIoU; centre-ness has a loss of its own.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone; its
            input may be of any size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        levels: the backbone's levels that enter the feature pyramid, finest first.
        extra_levels: int. How many coarser levels the pyramid has.
        filters: int. Channels of the feature pyramid and of the heads; a multiple of 32.
        depth: int. 3x3 convolutions of a head before its predictions.
        reach: float. A level learns objects whose farthest edge is up to so many strides away.
        radius: float. Locations up to so many strides from an object's centre learn it.
        couple_centerness: bool. Whether a joint loss takes class score times centre-ness for the
            score p, instead of the class score.
        torchvision: bool. Whether locations, padding and distances are those of torchvision's
            `fcos_resnet50_fpn`, for weights of that network: a location lies on its cell's corner,
            not in the middle, and distances end in a ReLU.
        **settings: `score_threshold`, `nms_threshold`, `max_detections`, `resize` and `name`, as of
            `harmonic_tf.models.detector.Detector`. A threshold of 0.1 is 0.01 of class score times
            centre-ness.

    Example:

    >>> model = FCOS.from_preset("fcos_tiny", num_classes=3)
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
        extra_levels=2,
        filters=256,
        depth=4,
        reach=8.0,
        radius=1.5,
        couple_centerness=False,
        torchvision=False,
        score_threshold=0.1,
        nms_threshold=0.6,
        **settings,
    ):
        images = keras.Input(backbone.input_shape[1:], name="images")
        features = pyramid_features(backbone, levels)(images)
        maps = FeaturePyramid(
            levels,
            extra_levels,
            filters,
            extra_input="pyramid",
            symmetric=torchvision,
            name="pyramid",
        )(features)
        strides = [2 ** (int(levels[0][1:]) + i) for i in range(len(maps))]
        locate = corner_squares if torchvision else strided_squares
        boxes = Dense(
            name="boxes",
            num_classes=num_classes,
            classification="focal",
            anchors=lambda image_size: locate(image_size, strides),
            targets=CenterSampling(radius, reach),
            coder=Distances(),
            box_loss="giou",
            couples_centerness=couple_centerness,
        )
        outputs = heads(maps, num_classes, depth, filters)
        outputs["box"] = (ops.relu if torchvision else positive)(outputs["box"])
        super().__init__(
            keras.Model(images, outputs, name="network"),
            [boxes],
            [CenternessBranch(boxes.name)],
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            settings={
                "levels": tuple(levels),
                "extra_levels": extra_levels,
                "filters": filters,
                "depth": depth,
                "reach": reach,
                "radius": radius,
                "couple_centerness": couple_centerness,
                "torchvision": torchvision,
            },
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            **settings,
        )


def heads(maps, num_classes, depth, filters):
    """The two heads, shared by all levels: one for classes, one for boxes and centre-ness.

    Args:
        maps: list of feature maps `(B, H, W, F)`, finest first.
        num_classes: int C.
        depth: int. 3x3 convolutions of a head before its predictions.
        filters: int. Their channels.

    Returns:
        `{"box": (B, A, 4), "classification": (B, A, C), "centerness": (B, A)}`, float32; boxes as
        they are before they become distances.
    """
    of_classes = tower(maps, depth, filters, "classification")
    of_boxes = tower(maps, depth, filters, "box")
    logits = predict(of_classes, num_classes, "classification", -math.log(1 / PRIOR - 1))
    boxes = [Scale(name=f"scale_{i}")(x) for i, x in enumerate(predict(of_boxes, 4, "box"))]
    centerness = predict(of_boxes, 1, "centerness")
    return {
        "box": rows(boxes, (-1, 4), "box"),
        "classification": rows(logits, (-1, num_classes), "classification"),
        "centerness": rows(centerness, (-1,), "centerness"),
    }


def tower(maps, depth, filters, name):
    """3x3 convolutions with group normalisation and ReLU, the same on each map."""
    for i in range(depth):
        convolution = Conv2D(
            filters,
            3,
            padding="same",
            kernel_initializer="he_normal",
            name=f"{name}_convolution_{i}",
        )
        norm = layers.GroupNormalization(GROUPS, epsilon=1e-5, name=f"{name}_norm_{i}")
        relu = layers.ReLU(name=f"{name}_relu_{i}")
        maps = [relu(norm(convolution(x))) for x in maps]
    return maps


def predict(maps, size, name, bias=0.0):
    """A 3x3 convolution to `size` channels, the same on each map."""
    prediction = Conv2D(
        size,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(bias),
        name=f"{name}_prediction",
    )
    return [prediction(x) for x in maps]


def rows(maps, shape, name):
    """The cells of all maps in one row, float32."""
    flat = [layers.Reshape(shape, name=f"{name}_{i}")(x) for i, x in enumerate(maps)]
    return layers.Concatenate(axis=1, dtype="float32", name=name)(flat)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class Scale(layers.Layer):
    """Multiplies by a number that is learned and starts from 1."""

    def build(self, input_shape):
        self.scale = self.add_weight((), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


FCOS.presets = {
    "fcos_resnet50_fpn": Preset("resnet50", (800, 800)),
    "fcos_resnext101_32x8d_fpn": Preset("resnext101_32x8d", (800, 800)),
    "fcos_tiny": Preset(
        "tiny",
        (160, 208),
        {"extra_levels": 1, "filters": 64, "depth": 2, "reach": 4.0},
        FCOS_TINY,
    ),
}
