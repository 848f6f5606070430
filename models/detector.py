"""What every detector shares: targets, the joint loss, detections, metrics, presets."""

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from harmonic_tf import boxes, metrics
from harmonic_tf.losses import DetectionLoss
from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.models.backbones.backbone import build_backbone
from harmonic_tf.models.matching import encode_targets
from harmonic_tf.models.nms import class_wise_nms
from harmonic_tf.ops import replica_count


@dataclasses.dataclass(frozen=True)
class Preset:
    """A detector by name.

    Attributes:
        backbone: architecture of the `PyramidBackbone`.
        image_size: (height, width) of the input in pixels.
        settings: function from the number of classes to the detector's other arguments.
        training: settings of a recipe that a user leaves open; see `models.schedules`.
    """

    backbone: str
    image_size: tuple[int, int]
    settings: Callable[[int], dict]
    training: dict


class Detector:
    """What makes a Keras model a detector. The model is a network with anchors; the rest is here.

    Inherited before the model's class: `class SSD(Detector, keras.Model)`.

    The model goes from images `(B, H, W, 3)` (RGB, 0 to 255) to the predictions of the contract,
    `{"box": (B, A, 4), "classification": (B, A, K)}`, sets the attributes below and defines
    `anchors`. One with several stages also says, by `references`, `last_stage` and
    `further_losses`, how they depend on one another. Then it is trained with

        model.compile(optimizer=..., loss=HarmonicDetLoss(**model.loss_settings))
        model.fit(dataset)

    on a dataset of `(images, {"boxes": (B, M, 4), "classes": (B, M)})`, padded with -1, or of
    KerasCV's `{"images", "bounding_boxes"}`; `model.predict(images)` gives KerasCV's dictionary
    `{"boxes", "confidence", "classes", "num_detections"}`.

    Attributes:
        backbone: the network whose feature maps are used.
        num_classes: int C.
        bounding_box_format: Keras's name of the format of boxes in and out, such as `"xyxy"`.
        classification: `"softmax"` (K = C + 1, background last) or `"focal"` (K = C).
        box_variance: 4 floats that deltas are divided by.
        matching: arguments of `harmonic_tf.models.matching.match`.
        decoding: arguments of `harmonic_tf.models.nms.class_wise_nms`.
        negative_ratio: float or None. The hard-negative mining that the detector is trained with.
        has_masks: bool. Whether it learns `"masks"` beside boxes, and finds them.
        resize: `"stretch"` or `"letterbox"`: how images are brought to `image_size`.
        presets: dictionary of name to `Preset`.
    """

    classification = "softmax"
    box_variance = (0.1, 0.1, 0.2, 0.2)
    negative_ratio = None
    has_masks = False
    resize = "stretch"
    presets = {}

    def _set_up(self, num_classes, bounding_box_format, matching, decoding):
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.matching = matching
        self.decoding = decoding
        # XLA has no kernels for TensorFlow's NMS and sparse products.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        form = {"classification": self.classification, "box_variance": self.box_variance}
        self.loss_part_metrics = [
            keras.metrics.Mean(name=name)
            for name in ("classification_loss", "box_loss", "contrastive_loss")
        ]
        self.positive_metrics = [
            metrics.MeanHarmonicFactor("beta_r", **form),
            metrics.MeanHarmonicFactor("beta_c", **form),
            metrics.MeanScore(**form),
            metrics.InconsistencyCoefficient(**form),
        ]

    def anchors(self, image_size):
        """Anchors `(A, 4)` for an image of (height, width), x1, y1, x2, y2 in pixels."""
        raise NotImplementedError

    @property
    def image_size(self):
        """(height, width) of the network's input in pixels; None for an axis of any size."""
        shape = self.input_shape
        shape = next(iter(shape.values())) if isinstance(shape, dict) else shape
        return tuple(shape[1:3])

    @property
    def score_threshold(self):
        """The score that a detection must exceed."""
        return self.decoding["score_threshold"]

    @property
    def loss_settings(self):
        """The arguments of a joint loss that this detector needs."""
        return {
            "classification": self.classification,
            "box_variance": self.box_variance,
            "negative_ratio": self.negative_ratio,
        }

    def references(self, image_size, predictions=None):
        """Boxes that the deltas are relative to: the anchors, unless an earlier stage moves them.

        Args:
            image_size: (height, width).
            predictions: what the model returned; None where the boxes do not depend on it.

        Returns:
            `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2 in pixels.
        """
        return self.anchors(image_size)

    def encode_targets(self, y, image_size=None, predictions=None):
        """The `y_true` of the contract for ground truth.

        Args:
            y: `{"boxes": (B, M, 4), "classes": (B, M)}`, padded with -1; boxes in
                `bounding_box_format`.
            image_size: (height, width). Defaults to the network's input size.
            predictions: see `references`.
        """
        image_size = image_size or self.image_size
        references = self.references(image_size, predictions)
        return self._targets(y, image_size, references, self.matching, self.box_variance)

    def _targets(self, y, image_size, references, matching, variance):
        truth = self._boxes(y, image_size)
        return encode_targets(references, truth, y["classes"], variance, **matching)

    def _objectness_targets(self, y, image_size, matching, variance):
        """Targets of a first stage, to which every object is of the one class 0."""
        objects = {**y, "classes": ops.minimum(ops.cast(y["classes"], "float32"), 0.0)}
        anchors = self.anchors(image_size)
        return self._targets(objects, image_size, anchors, matching, variance)

    def _boxes(self, y, image_size):
        return _convert(y["boxes"], self.bounding_box_format, "xyxy", image_size)

    def _require_predictions(self, predictions):
        if predictions is None:
            raise ValueError(
                f"The boxes that the deltas of {type(self).__name__} are relative to depend on its "
                "predictions. Expected `predictions`, as the model returned them. Received: None"
            )

    def last_stage(self, y, predictions, image_size):
        """What the compiled loss judges: here the predictions as they are.

        A detector that learns from a sample of regions adds its predictions for these here, and
        calls them `references`.
        """
        return predictions

    def loss_inputs(self, predictions, targets):
        """The `y_pred` of the contract that goes with `encode_targets`' `y_true`."""
        return {key: predictions[key] for key in ("box", "classification")}

    def further_losses(self, y, image_size, predictions, sample_weight):
        """The sum of all losses beside the compiled one: of earlier stages, of masks. Here none.

        Args:
            y: ground truth.
            image_size: (height, width).
            predictions: what `last_stage` returned.
            sample_weight: None or weights `(B,)` of the images.
        """
        return 0.0

    def _stage_loss(self, harmonized, variance):
        """The loss of an earlier stage: the compiled one if it is harmonized, or the standard."""
        if harmonized and isinstance(self.loss, JointLoss):
            config = {**self.loss.get_config(), "box_variance": variance}
            return type(self.loss).from_config(config)
        return DetectionLoss(**{**self.loss_settings, "box_variance": variance})

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **kwargs
    ):
        """The joint loss of a batch, and the layers' own losses; updates the metrics."""
        loss = getattr(self, "loss", None)
        if not isinstance(loss, keras.losses.Loss):
            raise ValueError(
                f"Compile {type(self).__name__} with a loss that sees boxes and classes together, "
                f"such as loss=HarmonicDetLoss(**model.loss_settings). Received: loss={loss!r}"
            )
        image_size = _image_size(x)
        last_stage = self.last_stage(y, y_pred, image_size)
        y_true = self.encode_targets(y, image_size, last_stage)
        loss_inputs = self.loss_inputs(last_stage, y_true)
        if isinstance(loss, JointLoss):
            self._check_form(loss)
            total, parts = loss.with_parts(y_true, loss_inputs, sample_weight)
            self._update_metrics(parts)
        else:
            total = loss(y_true, loss_inputs, sample_weight)
        total = total + self.further_losses(y, image_size, last_stage, sample_weight)
        if self.losses:
            total = total + ops.sum(ops.stack(self.losses)) / replica_count()
        return total

    def _check_form(self, loss):
        for name in ("classification", "box_variance"):
            expected, received = getattr(self, name), getattr(loss.objective, name)
            if tuple(expected) != tuple(received):
                raise ValueError(
                    f"{type(self).__name__} needs a loss with {name}={expected!r}: "
                    f"{type(loss).__name__}(**model.loss_settings). Received: {received!r}"
                )

    def _update_metrics(self, parts):
        sums = (parts.classification, parts.localization, parts.contrastive)
        for metric, values in zip(self.loss_part_metrics, sums, strict=True):
            update_mean(metric, values, parts)
        for metric in self.positive_metrics:
            metric.update_from_parts(parts)

    def scores(self, predictions):
        """Scores of the classes, `(B, A, C)` in float32."""
        logits = ops.cast(predictions["classification"], "float32")
        if self.classification == "softmax":
            return ops.softmax(logits, axis=-1)[..., :-1]
        return ops.sigmoid(logits)

    def decode_predictions(self, predictions, images):
        """Turns raw predictions into detections: decoding and class-wise NMS, in float32.

        Args:
            predictions: what the model returned for `images`.
            images: `(B, H, W, 3)`; only the size is read.

        Returns:
            `{"boxes": (B, D, 4), "confidence": (B, D), "classes": (B, D), "num_detections": (B,)}`,
            best first, padded with -1; boxes in `bounding_box_format`, clipped to the image.
        """
        image_size = _image_size(images)
        deltas = ops.cast(predictions["box"], "float32")
        references = ops.convert_to_tensor(self.references(image_size, predictions), "float32")
        if len(deltas.shape) == 4:  # a box for each class
            references = references[..., None, :]
        decoded = boxes.decode(deltas, references, self.box_variance)
        decoded = boxes.clip(decoded, image_size)
        detections = class_wise_nms(decoded, self.scores(predictions), **self.decoding)
        found = detections["confidence"][..., None] >= 0
        converted = _convert(detections["boxes"], "xyxy", self.bounding_box_format, image_size)
        return {**detections, "boxes": ops.where(found, converted, -1.0)}

    def make_train_function(self, force=False):
        """As Keras's. A step that makes the optimizer's variables would be traced twice."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    # Keras's own steps: KerasCV's know neither sample weights nor `train_on_batch`.
    def train_step(self, *args):
        return keras.Model.train_step(self, *args[:-1], _unpack(args[-1]))

    def test_step(self, *args):
        return keras.Model.test_step(self, *args[:-1], _unpack(args[-1]))

    def predict_step(self, *args):
        images = keras.utils.unpack_x_y_sample_weight(_unpack(args[-1]))[0]
        outputs = keras.Model.predict_step(self, *args[:-1], _unpack(args[-1]))
        if isinstance(outputs, tuple):  # JAX: the variables are apart from the model, and returned
            variables = [*self.trainable_variables, *self.non_trainable_variables]
            values = [value for part in args[0] for value in part]
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return self.decode_predictions(outputs[0], images), *outputs[1:]
        return self.decode_predictions(outputs, images)

    def get_config(self):
        return {
            "name": self.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "score_threshold": self.decoding["score_threshold"],
            "nms_threshold": self.decoding["iou_threshold"],
            "max_detections": self.decoding["max_detections"],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            for name, value in config.items()
            if isinstance(value, dict)
        }
        return cls(**{**config, **parts})

    @classmethod
    def from_preset(
        cls,
        preset,
        num_classes,
        backbone=None,
        weights="none",
        freeze_batch_norm=None,
        image_size=None,
        **settings,
    ):
        """Builds a detector by name.

        Args:
            preset: string, a key of `presets`.
            num_classes: int.
            backbone: architecture of a `PyramidBackbone` instead of the preset's.
            weights: of the backbone: `"none"`, `"imagenet"`, or the path of a weights file.
            freeze_batch_norm: bool, or None for the usual: only with pretrained weights.
            image_size: (height, width) instead of the preset's.
            **settings: arguments of the detector that take the place of the preset's.

        Raises:
            ValueError: if there is no such preset, or the weights cannot be had.
        """
        if preset not in cls.presets:
            raise ValueError(
                f"{cls.__name__} has no preset {preset!r}; it has {', '.join(sorted(cls.presets))}."
            )
        spec = cls.presets[preset]
        backbone = build_backbone(
            backbone or spec.backbone, image_size or spec.image_size, weights, freeze_batch_norm
        )
        return cls(
            backbone=backbone, num_classes=num_classes, **{**spec.settings(num_classes), **settings}
        )


def update_mean(metric, values, parts):
    """Updates a `keras.metrics.Mean` with the sum of values over all rows, per positive.

    The rows of a batch or replica without positives count too, as they do in the loss.

    Args:
        metric: `keras.metrics.Mean`.
        values: `(B, A)`.
        parts: `harmonic_tf.ops.Parts` of the same rows.
    """
    metric.total.assign_add(ops.cast(ops.sum(values), metric.dtype))
    metric.count.assign_add(ops.cast(ops.sum(parts.positive), metric.dtype))


def _unpack(data):
    """KerasCV's dictionary of a batch as the tuple that Keras expects."""
    if isinstance(data, dict) and "bounding_boxes" in data:
        return data["images"], data["bounding_boxes"]
    return data


def _image_size(images):
    images = images["images"] if isinstance(images, dict) else images
    height, width = images.shape[1:3]
    if height is None or width is None:
        raise ValueError(
            "The height and width of images must be known to place anchors. "
            f"Received images of shape {tuple(images.shape)}."
        )
    return height, width


def _convert(values, source, target, image_size):
    values = ops.cast(values, "float32")
    if source == target:
        return values
    height, width = image_size
    return keras.utils.bounding_boxes.convert_format(
        values, source, target, height=height, width=width
    )
