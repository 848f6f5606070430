"""What every detector shares: one walk over its stages, for the joint loss and for detections."""

import dataclasses

import keras
from keras import ops

import harmonic_tf
from harmonic_tf import metrics
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.models.backbones import build_backbone
from harmonic_tf.models.ground_truth import (
    convert_boxes,
    read_ground_truth,
    read_sample_weight,
)
from harmonic_tf.models.layers.dtype_policy import dtype_policy
from harmonic_tf.models.nms import class_wise_nms
from harmonic_tf.models.schedules import FULL_SIZE
from harmonic_tf.models.stages import Row, look, read, returned
from harmonic_tf.ops import global_sum, replica_count


@dataclasses.dataclass(frozen=True)
class Preset:
    """A detector by name.

    Attributes:
        backbone: architecture of the `PyramidBackbone`.
        image_size: (height, width) of the input in pixels.
        settings: the detector's other arguments.
        training: settings of a recipe that a user leaves open; see `models.schedules`.
    """

    backbone: str
    image_size: tuple[int, int]
    settings: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=lambda: FULL_SIZE)


class DetectorMixin:
    """What makes a Keras model with `stages` a detector: its loss, its detections, its config.

    Inherited before the model's class, which sets `backbone`, `settings` and `image_size` and calls
    `_set_up`. See `Detector` for what they are.
    """

    presets = {}

    def _set_up(self, stages, branches, num_classes, bounding_box_format, decoding, resize):
        if resize not in ("stretch", "letterbox"):
            raise ValueError(f'`resize` must be "stretch" or "letterbox". Received: {resize!r}')
        self.stages = tuple(stages)
        self.branches = tuple(branches)
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.resize = resize
        self.decoding = decoding
        # XLA has no kernels for TensorFlow's NMS and sparse products.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        form = {"classification": self.classification, "box_variance": self.box_variance}
        self.loss_part_metrics = [
            keras.metrics.Mean(name=name)
            for name in ("classification_loss", "box_loss", "contrastive_loss", "coupling_loss")
        ]
        self.positive_metrics = [
            metrics.MeanHarmonicFactor("beta_r", **form),
            metrics.MeanHarmonicFactor("beta_c", **form),
            metrics.MeanScore(**form),
            metrics.InconsistencyCoefficient(name="inconsistency", **form),
        ]
        others = (*self.stages[:-1], *self.branches)
        self.other_losses = {x.name: keras.metrics.Mean(name=f"{x.name}_loss") for x in others}
        self.seed_generator = None
        if any(stage.sampler for stage in self.stages):
            self.seed_generator = keras.random.SeedGenerator()
            self.sampling_state = self.seed_generator.state  # a variable, to be saved

    @property
    def last_stage(self):
        """The stage that the compiled loss judges."""
        return self.stages[-1]

    @property
    def classification(self):
        """`"softmax"` (K = C + 1, background last) or `"focal"` (K = C)."""
        return self.last_stage.classification

    @property
    def box_variance(self):
        """4 floats that deltas are divided by."""
        return self.last_stage.coder.variance

    @property
    def loss_settings(self):
        """The arguments of a joint loss that this detector needs."""
        return self.last_stage.loss_settings

    @property
    def has_masks(self):
        return any(branch.name == "mask" for branch in self.branches)

    def anchors(self, image_size):
        """Anchors `(A, 4)` for an image of (height, width), x1, y1, x2, y2 in pixels."""
        return self.stages[0].anchors(image_size)

    def reference_boxes(self, image_size, predictions=None):
        """Boxes that the last stage's deltas are relative to.

        Args:
            image_size: (height, width).
            predictions: what the model returned; None where the boxes do not depend on it.

        Returns:
            `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2 in pixels.

        Raises:
            ValueError: if they depend on the predictions, and there are none.
        """
        return self._last_row(image_size, predictions).reference_boxes

    def encode_targets(self, y, image_size=None, predictions=None):
        """The last stage's `y_true` of the contract for ground truth.

        Args:
            y: `{"boxes": (B, M, 4), "classes": (B, M)}`, padded with -1; boxes in
                `bounding_box_format`.
            image_size: (height, width). Defaults to the network's input size.
            predictions: see `reference_boxes`.
        """
        image_size = image_size or self.image_size
        row = self._last_row(image_size, predictions)
        return row.stage.encode_targets(row, self._ground_truth(y, image_size))

    def loss_inputs(self, predictions, targets):
        """The `y_pred` of the contract that goes with `encode_targets`' `y_true`."""
        stage = self.last_stage
        return Row(stage, None, **stage.predictions(predictions)).loss_inputs(targets)

    def _last_row(self, image_size, predictions):
        stage = self.last_stage
        if predictions is not None:
            return read(self.stages, predictions, image_size)[stage.name]
        if stage.after:
            raise ValueError(
                f"The boxes that the deltas of {type(self).__name__} are relative to depend on its "
                "predictions. Expected `predictions`, as the model returned them. Received: None"
            )
        return Row(stage, stage.anchors(image_size), None, None)

    def _ground_truth(self, y, image_size):
        return read_ground_truth(y, self.bounding_box_format, image_size)

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        jit_compile="auto",
        **settings,
    ):
        """As Keras's, with one loss that sees boxes and classes together.

        Args:
            optimizer: as Keras's.
            loss: a loss on the contract, such as `HarmonicDetLoss()`, the default. What it leaves
                `"auto"` is taken from the detector.
            loss_weights: must be None.
            metrics: must be None: AP is measured by a callback.
            weighted_metrics: must be None.
            jit_compile: as Keras's; on TensorFlow it must not be True.
            **settings: of `keras.Model.compile`.

        Raises:
            ValueError: for a loss that is not one, contradicts the detector or reduces otherwise
                than by the sum, and for what a detector cannot do.
        """
        loss = HarmonicDetLoss() if loss is None else loss
        check_loss(loss, self)
        for name, value in (
            ("loss_weights", loss_weights),
            ("metrics", metrics),
            ("weighted_metrics", weighted_metrics),
        ):
            if value is not None:
                raise ValueError(
                    f"{type(self).__name__} has one loss, and metrics of its own: expected "
                    f"{name}=None. AP is measured by harmonic_tf.training.evaluation, or by a "
                    f"callback. Received: {name}={value!r}"
                )
        if jit_compile is True and not self.supports_jit:
            raise ValueError(
                "XLA has no kernels for TensorFlow's NMS and sparse products: leave jit_compile at "
                '"auto", which compiles the loss alone. Received: jit_compile=True'
            )
        keras.Model.compile(
            self, optimizer=optimizer, loss=loss, jit_compile=jit_compile, **settings
        )

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **kwargs
    ):
        """The sum of all stages' losses on a batch, and the layers' own; updates the metrics.

        In evaluation the samples that stages learn from are not random.
        """
        image_size = _image_size(x)
        truth = self._ground_truth(y, image_size)
        sample_weight = read_sample_weight(sample_weight)
        seed = self.seed_generator if training else None
        rows = look(self.stages, y_pred, image_size, truth, seed, training)
        total = 0.0
        for stage in self.stages:
            lesson = stage.lesson(rows[stage.name], y_pred, truth, seed)
            total = total + self._stage_loss(stage, lesson, sample_weight)
        for branch in self.branches:
            terms = branch.loss_terms(rows, y_pred, truth, training)
            total = total + self._branch_loss(branch, *terms, sample_weight)
        if self.losses:
            total = total + ops.sum(ops.stack(self.losses)) / replica_count()
        return total

    def _stage_loss(self, stage, lesson, sample_weight):
        """The compiled loss, or for a stage that is not harmonised the standard one."""
        is_last = stage is self.last_stage
        loss = self.loss if is_last else self._loss_of(stage)
        if not isinstance(loss, JointLoss):
            return loss(lesson.y_true, lesson.y_pred, sample_weight)
        loss = loss.for_detector(stage.loss_settings)
        total, parts = loss.with_parts(lesson.y_true, lesson.y_pred, sample_weight)
        if is_last:
            self._update_metrics(parts)
        else:
            self._update_other_loss(stage, parts, lesson.count)
        if lesson.count is None:
            return total
        positives = ops.maximum(global_sum(ops.sum(parts.positive)), 1.0)
        return total * positives / ops.maximum(global_sum(lesson.count), 1.0)

    def _loss_of(self, stage):
        """The loss of an earlier stage, which has a form of its own."""
        if not (stage.harmonized and isinstance(self.loss, JointLoss)):
            return DetectionLoss()
        own = {"classification": "auto", "box_variance": "auto"}
        return type(self.loss).from_config({**self.loss.get_config(), **own})

    def _branch_loss(self, branch, terms, positive, sample_weight):
        """The mean of a branch's terms over the positives of the global batch."""
        terms, count = terms * positive, ops.sum(positive)
        update_mean(self.other_losses[branch.name], terms, count)
        if sample_weight is not None:
            terms = terms * ops.cast(sample_weight, "float32")[:, None]
        return ops.sum(terms) / ops.maximum(global_sum(count), 1.0)

    def _update_metrics(self, parts):
        sums = (parts.classification, parts.localization, parts.contrastive)
        sums = (*sums, parts.total - sum(sums))
        for metric, values in zip(self.loss_part_metrics, sums, strict=True):
            update_mean(metric, values, ops.sum(parts.positive))
        for metric in self.positive_metrics:
            metric.update_from_parts(parts)

    def _update_other_loss(self, stage, parts, count):
        count = ops.sum(parts.positive) if count is None else count
        update_mean(self.other_losses[stage.name], parts.total, count)

    def decode_predictions(self, predictions, images):
        """Turns raw predictions into detections: decoding and class-wise NMS, in float32.

        Args:
            predictions: what the model returned for `images`.
            images: `(B, H, W, 3)`; only the size is read.

        Returns:
            `{"boxes": (B, D, 4), "confidence": (B, D), "classes": (B, D), "num_detections": (B,)}`,
            best first, padded with -1; boxes in `bounding_box_format`, clipped to the image. What
            branches find is there too.
        """
        image_size = _image_size(images)
        rows = read(self.stages, predictions, image_size).values()
        found = [row.detections(image_size) for row in rows if row.stage.detects]
        boxes, scores = (ops.concatenate(x, axis=1) for x in zip(*found, strict=True))
        detections = class_wise_nms(boxes, scores, **self.decoding)
        for branch in self.branches:
            detections = {**detections, **branch.detections(detections, predictions)}
        present = detections["confidence"][..., None] >= 0
        boxes = convert_boxes(detections["boxes"], "xyxy", self.bounding_box_format, image_size)
        return {**detections, "boxes": ops.where(present, boxes, -1.0)}

    def make_train_function(self, force=False):
        """As Keras's. A step that makes the optimizer's variables would be traced twice."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    # Keras's own steps, also where a subclass has another library's: see `adapters`.
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

    def export(self, filepath, format="tf_saved_model", **settings):
        """As Keras's; a SavedModel serves detections, as `predict` gives them.

        Args:
            filepath: where to write.
            format: `"tf_saved_model"`, from images `(B, H, W, 3)` of the network's size to
                `decode_predictions`' dictionary; in other formats the predictions are raw.
            **settings: of `keras.Model.export`.
        """
        if format != "tf_saved_model":
            return super().export(filepath, format=format, **settings)
        archive = keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint(
            name="serve",
            fn=lambda images: self.decode_predictions(self(images, training=False), images),
            input_signature=[keras.InputSpec("float32", (None, *self.image_size, 3))],
        )
        archive.write_out(filepath, verbose=settings.get("verbose"))

    def get_config(self):
        return {
            "name": self.name,
            "version": harmonic_tf.__version__,
            "dtype": self.dtype_policy.name,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "score_threshold": self.decoding["score_threshold"],
            "nms_threshold": self.decoding["iou_threshold"],
            "max_detections": self.decoding["max_detections"],
            "resize": self.resize,
            **self.settings,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """As Keras's; a file of a version whose networks were others is refused by its name."""
        config = dict(config)
        version = config.pop("version", "0.1.0")
        if version.startswith("0.1."):
            raise ValueError(
                f"this {cls.__name__} was made by harmonic_tf {version}, whose networks had other "
                "layers: load it with that version, or train it anew"
            )
        with dtype_policy(config.pop("dtype", keras.config.dtype_policy())):
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
        frozen_level=None,
        image_size=None,
        **settings,
    ):
        """Builds a detector by name.

        Args:
            preset: string, a key of `presets`.
            num_classes: int.
            backbone: instead of the preset's; see `harmonic_tf.models.backbones.build_backbone`.
            weights: of the backbone: `"none"`, `"imagenet"`, or the path of a weights file.
            freeze_batch_norm: bool, or None for the usual: only with pretrained weights.
            frozen_level: string such as `"P3"`, up to which the backbone is not trained, or None.
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
            backbone or spec.backbone,
            image_size or spec.image_size,
            weights,
            freeze_batch_norm,
            frozen_level,
        )
        return cls(backbone=backbone, num_classes=num_classes, **{**spec.settings, **settings})


class Detector(DetectorMixin, keras.Model):
    """A network and a row of stages; see `harmonic_tf.models.stages`. A subclass says which.

    It goes from images `(B, H, W, 3)` (RGB, 0 to 255) to the predictions of the contract,
    `{"box": (B, A, 4), "classification": (B, A, K)}` of the last stage and what earlier ones
    predict. It is trained with

        model.compile("adamw", loss=HarmonicDetLoss())
        model.fit(dataset)

    on a dataset of `(images, {"boxes": (B, M, 4), "classes": (B, M)})`, padded with -1, or of
    KerasCV's `{"images", "bounding_boxes"}`; `model.predict(images)` gives KerasCV's dictionary
    `{"boxes", "confidence", "classes", "num_detections"}`. In training the model returns what its
    network does, and `compute_loss` runs the stages that look at regions.

    Args:
        network: Keras model from images to a dictionary with what the stages read.
        stages: sequence of `Stage`.
        branches: sequence of what is learned beside boxes; see `MaskBranch`.
        backbone: the network whose feature maps are used, serialisable.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        settings: dictionary of the subclass's other arguments, for its config.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept an image.
        resize: `"stretch"` or `"letterbox"`: how images are brought to `image_size`.
        name: string.

    Attributes:
        presets: dictionary of name to `Preset`.
        decoding: arguments of `harmonic_tf.models.nms.class_wise_nms`.
        has_masks: bool. Whether it learns `"masks"` beside boxes, and finds them.
    """

    def __init__(
        self,
        network,
        stages,
        branches=(),
        *,
        backbone,
        num_classes,
        bounding_box_format,
        settings,
        score_threshold=0.05,
        nms_threshold=0.5,
        max_detections=100,
        resize="stretch",
        name=None,
    ):
        super().__init__(name=name)
        self.network = network
        self.backbone = backbone
        self.settings = settings
        decoding = {
            "score_threshold": score_threshold,
            "iou_threshold": nms_threshold,
            "max_detections": max_detections,
        }
        self._set_up(stages, branches, num_classes, bounding_box_format, decoding, resize)
        self.built = True

    @property
    def image_size(self):
        """(height, width) of the network's input in pixels; None for an axis of any size."""
        return tuple(self.network.input_shape[1:3])

    def call(self, images, training=None):
        outputs = self.network(images, training=training)
        if training:
            return outputs
        return {**outputs, **returned(look(self.stages, outputs, _image_size(images)))}


def check_loss(loss, model):
    """Raises ValueError unless a detector can be trained with a loss."""
    name = type(model).__name__
    if not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"Compile {name} with a loss that sees boxes and classes together, such as "
            f"loss=HarmonicDetLoss(). Received: loss={loss!r}"
        )
    if not isinstance(loss, JointLoss):
        return
    loss.for_detector(model.loss_settings)
    if loss.reduction != "sum":
        raise ValueError(
            f'{name} is trained with the sum (13) of its loss: expected reduction="sum". '
            f"Received: {type(loss).__name__}(reduction={loss.reduction!r})"
        )


def update_mean(metric, values, count):
    """Adds a part of the loss to a mean over the steps, so that the parts' means sum to the loss's.

    Args:
        metric: `keras.metrics.Mean`.
        values: tensor of any shape. Their sum over all replicas and `count` is the part.
        count: scalar. What this replica has of the number that the loss divides by.
    """
    share = ops.sum(values) / ops.maximum(global_sum(count), 1.0)
    metric.total.assign_add(ops.cast(share, metric.dtype))
    metric.count.assign_add(1 / replica_count())


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
