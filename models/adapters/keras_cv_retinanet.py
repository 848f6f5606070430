"""`keras_cv.models.RetinaNet` with a joint loss and class-wise NMS."""

import keras
import keras_cv
from keras import ops

from harmonic_tf.coders import CenterSize
from harmonic_tf.models.backbones import level_layer_names
from harmonic_tf.models.detector import DetectorMixin
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.stages import Dense


@keras.saving.register_keras_serializable(package="harmonic_tf")
class KerasCVRetinaNet(DetectorMixin, keras_cv.models.RetinaNet):
    """KerasCV's RetinaNet, trained jointly.

    The constructor, the network and `compile(box_loss=..., classification_loss=...)` are KerasCV's.
    What is new: `compile(loss=HarmonicDetLoss())` couples the branches, and
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

    >>> backbone = PyramidBackbone("tiny", image_size=(128, 192))
    >>> model = KerasCVRetinaNet(backbone, num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss())
    >>> model.predict(np.zeros((1, 128, 192, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

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
        encoder = self.label_encoder
        boxes = Dense(
            name="boxes",
            num_classes=num_classes,
            classification="focal",
            anchors=self._anchors,
            targets=Matching(encoder.positive_threshold, encoder.negative_threshold),
            coder=CenterSize(tuple(float(v) for v in encoder.box_variance_tuple)),
        )
        decoding = {
            "score_threshold": score_threshold,
            "iou_threshold": nms_threshold,
            "max_detections": max_detections,
        }
        self._has_user_metrics = False
        self._set_up([boxes], (), num_classes, bounding_box_format, decoding, "stretch")

    def call(self, inputs, training=None, mask=None):
        inputs = inputs if isinstance(inputs, dict) else {"images": inputs}
        return super().call(inputs, training=training, mask=mask)

    @property
    def image_size(self):
        shape = self.input_shape
        shape = next(iter(shape.values())) if isinstance(shape, dict) else shape
        return tuple(shape[1:3])

    def _anchors(self, image_size):
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
            loss: a loss on the contract, such as `HarmonicDetLoss()`.
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
            super().compile(loss=loss, **kwargs)

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
        """Builds a RetinaNet by the name of a preset of KerasCV's."""
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
        self.settings = parts
        config = super().get_config()
        del config["resize"]
        return config
