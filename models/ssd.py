"""SSD (Liu et al. 2016) on a feature pyramid, the SSD300 and SSD512 of the HarmonicDet paper."""

import keras
from keras import layers

from harmonic_tf.models.anchors import grid_anchors, ssd_anchor_shapes
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.pyramid import FeaturePyramid


@keras.saving.register_keras_serializable(package="harmonic_tf")
class SSD(Detector, keras.Model):
    """Single-shot detector: one 3x3 convolution a level predicts the boxes and classes of anchors.

    Softmax over the classes and the background; hard-negative mining, 3 negatives a positive, is
    the loss's (`model.loss_settings`).

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_shapes: for each pyramid level its anchors' (width, height) in pixels.
        levels: the backbone's levels that enter the feature pyramid, finest first. The pyramid
            gets as many extra levels as there are more `anchor_shapes`.
        filters: int. Channels of the feature pyramid.
        last_padding: `"same"` or `"valid"`: see `harmonic_tf.models.pyramid.FeaturePyramid`.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept a picture.
        name: string.

    Example:

    >>> model = SSD.from_preset("ssd_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    classification = "softmax"
    negative_ratio = 3.0

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        anchor_shapes=None,
        levels=("P3", "P4", "P5"),
        filters=256,
        last_padding="same",
        score_threshold=0.01,
        nms_threshold=0.45,
        max_detections=100,
        name=None,
    ):
        anchor_shapes = _SSD300_SHAPES if anchor_shapes is None else anchor_shapes
        anchor_shapes = tuple(tuple(map(tuple, shapes)) for shapes in anchor_shapes)
        extractor = pyramid_features(backbone, levels)
        images = keras.Input(backbone.input_shape[1:], name="images")
        features = FeaturePyramid(
            levels, len(anchor_shapes) - len(levels), filters, last_padding, name="pyramid"
        )(extractor(images))
        columns = {"box": 4, "classification": num_classes + 1}
        outputs = {key: [] for key in columns}
        for i, (feature, shapes) in enumerate(zip(features, anchor_shapes, strict=True)):
            for key, size in columns.items():
                x = layers.Conv2D(len(shapes) * size, 3, padding="same", name=f"{key}_{i}")(feature)
                outputs[key].append(layers.Reshape((-1, size), name=f"{key}_{i}_rows")(x))
        outputs = {
            key: layers.Concatenate(axis=1, dtype="float32", name=key)(x)
            for key, x in outputs.items()
        }
        super().__init__(inputs=images, outputs=outputs, name=name)
        self.backbone = backbone
        self.anchor_shapes = anchor_shapes
        self.levels = tuple(levels)
        self.filters = filters
        self.last_padding = last_padding
        self._feature_sizes = [tuple(feature.shape[1:3]) for feature in features]
        self._set_up(
            num_classes,
            bounding_box_format,
            matching={"positive_threshold": 0.5, "negative_threshold": 0.5, "force": True},
            decoding={
                "score_threshold": score_threshold,
                "iou_threshold": nms_threshold,
                "max_detections": max_detections,
            },
        )

    def anchors(self, image_size):
        if tuple(image_size) != self.image_size:
            raise ValueError(
                f"This SSD takes pictures of {self.image_size} (height, width) pixels. "
                f"Received: {tuple(image_size)}"
            )
        return grid_anchors(image_size, self._feature_sizes, self.anchor_shapes)

    def get_config(self):
        return {
            "name": self.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "anchor_shapes": self.anchor_shapes,
            "levels": self.levels,
            "filters": self.filters,
            "last_padding": self.last_padding,
            "score_threshold": self.decoding["score_threshold"],
            "nms_threshold": self.decoding["iou_threshold"],
            "max_detections": self.decoding["max_detections"],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**{**config, "backbone": backbone})


# The anchor sizes of the published SSD300 and SSD512 for PASCAL VOC, in pixels.
_SSD300_SHAPES = ssd_anchor_shapes(
    (30, 60, 111, 162, 213, 264, 315), ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
)
_SSD512_SHAPES = ssd_anchor_shapes(
    (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
)
_TINY_SHAPES = ssd_anchor_shapes((16, 30, 58, 104, 160), ((2,), (2,), (2,), (2,)))


def _preset(backbone, image_size, **settings):
    return Preset(backbone, image_size, lambda num_classes: settings)


SSD.presets_by_name = {
    "ssd300_resnet50_fpn": _preset(
        "resnet50", (300, 300), anchor_shapes=_SSD300_SHAPES, last_padding="valid"
    ),
    "ssd512_resnet50_fpn": _preset("resnet50", (512, 512), anchor_shapes=_SSD512_SHAPES),
    "ssd_tiny": _preset("tiny", (160, 208), anchor_shapes=_TINY_SHAPES, filters=64),
}
