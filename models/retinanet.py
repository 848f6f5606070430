"""RetinaNet (Lin et al. 2017): KerasCV's, with a joint loss and class-wise NMS."""

import math

import keras
import keras_cv
from keras import layers, ops

from harmonic_tf.models.backbones.backbone import level_layer_names
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.schedules import FULL_SIZE, TINY


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RetinaNet(Detector, keras_cv.models.RetinaNet):
    """KerasCV's RetinaNet, trained jointly.

    The constructor, the network and `compile(box_loss=..., classification_loss=...)` are KerasCV's.
    What is new: `compile(loss=HarmonicDetLoss(classification="focal"))` couples the branches, and
    unless a `prediction_decoder` is given, detections come from class-wise NMS with a low score
    threshold.

    Args:
        backbone: a KerasCV or KerasHub backbone, or `harmonic_tf.models.PyramidBackbone`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_generator: optional `keras_cv.layers.AnchorGenerator`.
        label_encoder: optional `keras_cv.models.retinanet.LabelEncoder`, whose thresholds and
            anchors the joint loss uses too.
        prediction_decoder: optional KerasCV layer that takes the place of our decoding.
        feature_pyramid: optional layer from a dictionary of P3 to P5 to a list of maps.
        classification_head: optional layer, shared by the levels.
        box_head: optional layer, shared by the levels.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept an image.
        name: string.

    Example:

    >>> model = RetinaNet.from_preset("retinanet_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(classification="focal"))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    classification = "focal"

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        anchor_generator=None,
        label_encoder=None,
        prediction_decoder=None,
        feature_pyramid=None,
        classification_head=None,
        box_head=None,
        score_threshold=0.05,
        nms_threshold=0.5,
        max_detections=100,
        name=None,
    ):
        if not hasattr(backbone, "pyramid_level_inputs"):
            backbone.pyramid_level_inputs = level_layer_names(backbone)
        super().__init__(
            backbone=backbone,
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            anchor_generator=anchor_generator,
            label_encoder=label_encoder,
            prediction_decoder=prediction_decoder,
            feature_pyramid=feature_pyramid,
            classification_head=classification_head,
            box_head=box_head,
            name=name,
        )
        self.custom_decoder = prediction_decoder
        self.box_variance = tuple(float(v) for v in self.label_encoder.box_variance_tuple)
        self._has_user_metrics = False
        self._set_up(
            num_classes,
            bounding_box_format,
            matching={
                "positive_threshold": self.label_encoder.positive_threshold,
                "negative_threshold": self.label_encoder.negative_threshold,
                "force": False,
            },
            decoding={
                "score_threshold": score_threshold,
                "iou_threshold": nms_threshold,
                "max_detections": max_detections,
            },
        )

    def call(self, inputs, training=None, mask=None):
        inputs = inputs if isinstance(inputs, dict) else {"images": inputs}
        return super().call(inputs, training=training, mask=mask)

    def anchors(self, image_size):
        generator = self.label_encoder.anchor_generator
        levels = generator(image_shape=(*image_size, 3))
        return keras.utils.bounding_boxes.convert_format(
            ops.concatenate(list(levels.values()), axis=0),
            generator.bounding_box_format,
            "xyxy",
            height=image_size[0],
            width=image_size[1],
        )

    @property
    def metrics(self):
        """Those that are updated: ours with a joint loss, KerasCV's with two separate ones."""
        ours = [*self.loss_part_metrics, *self.positive_metrics]
        theirs = [self.label_encoder.matched_boxes_metric]
        idle = ours if isinstance(getattr(self, "loss", None), dict) else theirs
        return [x for x in super().metrics if not any(x is y for y in idle)]

    def compile(self, loss=None, box_loss=None, classification_loss=None, **kwargs):
        """Compiles with one joint loss, or as KerasCV does with two separate ones.

        Args:
            loss: a loss on the contract, such as `HarmonicDetLoss(classification="focal")`.
            box_loss: with `classification_loss`, KerasCV's way.
            classification_loss: see `box_loss`.
            **kwargs: of `keras.Model.compile`.
        """
        if isinstance(loss, dict):  # KerasCV's two losses, as Keras saves them
            box_loss, classification_loss, loss = loss["box"], loss["classification"], None
        separate = box_loss is not None or classification_loss is not None
        if separate and loss is not None:
            raise ValueError(
                "Pass either `loss`, or `box_loss` and `classification_loss`. Received all."
            )
        if separate:
            keras_cv.models.RetinaNet.compile(
                self, box_loss=box_loss, classification_loss=classification_loss, **kwargs
            )
        else:
            keras.Model.compile(self, loss=loss, **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        if isinstance(getattr(self, "loss", None), dict):
            return keras_cv.models.RetinaNet.compute_loss(self, x, y, y_pred, sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, **kwargs)

    def decode_predictions(self, predictions, images):
        if self.custom_decoder is None:
            return super().decode_predictions(predictions, images)
        return keras_cv.models.RetinaNet.decode_predictions(self, predictions, images)

    @classmethod
    def from_preset(cls, preset, num_classes, **settings):
        """Builds a RetinaNet by one of our names, or by KerasCV's. See `Detector.from_preset`."""
        if preset in cls.presets:
            return super().from_preset(preset, num_classes=num_classes, **settings)
        return keras_cv.models.RetinaNet.from_preset.__func__(
            cls, preset, num_classes=num_classes, **settings
        )

    def get_config(self):
        parts = {
            name: None if part is None else keras.saving.serialize_keras_object(part)
            for name, part in (
                ("label_encoder", self.label_encoder),
                ("prediction_decoder", self.custom_decoder),
                ("feature_pyramid", self.feature_pyramid),
                ("classification_head", self.classification_head),
                ("box_head", self.box_head),
            )
        }
        return {**super().get_config(), **parts}


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RetinaNetHead(layers.Layer):
    """Convolutions shared by all levels, then one that predicts.

    Args:
        outputs: int. Channels of the prediction.
        depth: int. 3x3 convolutions before it; 4 in the paper.
        filters: int. Their channels.
        prior: float or None. The score that a new head gives every anchor; None leaves the bias 0.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, outputs, depth=4, filters=256, prior=None, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"outputs": outputs, "depth": depth, "filters": filters, "prior": prior}
        bias = 0.0 if prior is None else math.log(prior / (1 - prior))
        self.convolutions = [
            Conv2D(
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
        self.prediction = Conv2D(
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


def _heads(num_classes, anchors, **settings):
    return {
        "classification_head": RetinaNetHead(
            anchors * num_classes, prior=0.01, name="classification_head", **settings
        ),
        "box_head": RetinaNetHead(anchors * 4, name="box_head", **settings),
    }


def _tiny(num_classes):
    anchor_generator = keras_cv.layers.AnchorGenerator(
        bounding_box_format="xyxy",
        sizes=[12.0, 24.0, 48.0, 96.0],
        scales=[1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64],
        clip_boxes=True,
    )
    return {
        "anchor_generator": anchor_generator,
        "feature_pyramid": FeaturePyramid(extra_levels=1, filters=64, name="pyramid"),
        **_heads(num_classes, anchors=9, depth=2, filters=64),
    }


def _full_size(num_classes):
    return _heads(num_classes, anchors=9)


RetinaNet.presets = {
    "retinanet_resnet50_fpn": Preset("resnet50", (800, 800), _full_size, FULL_SIZE),
    "retinanet_resnext101_32x8d_fpn": Preset("resnext101_32x8d", (800, 800), _full_size, FULL_SIZE),
    "retinanet_tiny": Preset("tiny", (160, 208), _tiny, TINY),
}
