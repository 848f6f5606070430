"""What every detector shares: a network, a row of stages, detections, presets and its config."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

import harmonic_tf
from harmonic_tf.coders import FORMATS
from harmonic_tf.models.anchors import stretched_shapes, stretched_sizes
from harmonic_tf.models.backbones import build_backbone
from harmonic_tf.models.ground_truth import (
    convert_boxes,
    image_size_of,
    nan_if_broken,
    read_ground_truth,
    unpack_batch,
)
from harmonic_tf.models.layers.dtype_policy import dtype_policy
from harmonic_tf.models.nms import class_wise_nms
from harmonic_tf.models.schedules import FULL_SIZE
from harmonic_tf.models.stage_losses import StageLosses
from harmonic_tf.models.stages import Row, look, read, returned


@dataclasses.dataclass(frozen=True)
class Preset:
    """A detector by name.

    Attributes:
        backbone: architecture of the `PyramidBackbone`.
        image_size: (height, width) of the input in pixels.
        settings: the detector's other arguments.
        training: settings of a recipe that a user leaves open; see `models.schedules`.

    Example:

    >>> from harmonic_tf.models.detector import Preset
    >>> preset = Preset("tiny", (64, 64), {"anchor_sizes": (16, 32)})
    >>> preset.settings_at((32, 128)), preset.settings_at((32, 32))
    ({'anchor_sizes': (16, 32)}, {'anchor_sizes': (16.0, 16.0)})
    """

    backbone: str
    image_size: tuple[int, int]
    settings: dict = dataclasses.field(default_factory=dict)
    training: dict = dataclasses.field(default_factory=lambda: FULL_SIZE)

    def settings_at(self, image_size):
        """The settings for images of another (height, width), which anchors follow.

        The largest anchors grow with the square root of the image's area, the smallest stay as
        they are, since maps keep their strides, and those between do so by where the logarithm of
        their size lies between the two. Aspect ratios are kept. Anchors that a preset leaves to
        its detector stay as they are: those belong to a map's stride.
        """
        if None in image_size:  # any size: the preset's own
            return self.settings
        scale = math.sqrt(math.prod(image_size) / math.prod(self.image_size))
        following = {"anchor_shapes": stretched_shapes, "anchor_sizes": stretched_sizes}
        return {
            key: following[key](value, scale) if key in following and scale != 1 else value
            for key, value in self.settings.items()
        }


class Detector(StageLosses, keras.Model):
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

    presets = {}

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
        if resize not in ("stretch", "letterbox"):
            raise ValueError(f'`resize` must be "stretch" or "letterbox". Received: {resize!r}')
        if bounding_box_format not in FORMATS:
            raise ValueError(
                f"`bounding_box_format` must be one of {FORMATS}. Received: {bounding_box_format!r}"
            )
        for key, value in {"score": score_threshold, "nms": nms_threshold}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"`{key}_threshold` must be from 0 to 1. Received: {value!r}")
        self.network = network
        self.stages = tuple(stages)
        self.branches = tuple(branches)
        self.backbone = backbone
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.settings = settings
        self.resize = resize
        self.decoding = {
            "score_threshold": score_threshold,
            "iou_threshold": nms_threshold,
            "max_detections": max_detections,
        }
        # XLA has no kernels for TensorFlow's NMS and sparse products.
        self.supports_jit = keras.backend.backend() != "tensorflow"
        self._make_metrics(others=[x.name for x in (*self.stages[:-1], *self.branches)])
        self.seed_generator = None
        if any(stage.sampler for stage in self.stages):
            self.seed_generator = keras.random.SeedGenerator()
            self.sampling_state = self.seed_generator.state  # a variable, to be saved
        self.built = True

    @property
    def image_size(self):
        """(height, width) of the network's input in pixels; None for an axis of any size."""
        return tuple(self.network.input_shape[1:3])

    def call(self, images, training=None):
        outputs = self.network(images, training=training)
        if training:
            return outputs
        return {**outputs, **returned(look(self.stages, outputs, image_size_of(images)))}

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
        truth = self._ground_truth(y, image_size)
        y_true = row.stage.encode_targets(row, truth)
        return {**y_true, "box": y_true["box"] + nan_if_broken(truth)}

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
        return read_ground_truth(y, self.bounding_box_format, image_size, self.num_classes)

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
        image_size = image_size_of(images)
        rows = read(self.stages, predictions, image_size).values()
        found = [row.detections(image_size) for row in rows if row.stage.detects]
        boxes, scores = (ops.concatenate(x, axis=1) for x in zip(*found, strict=True))
        detections = class_wise_nms(boxes, scores, **self.decoding)
        for branch in self.branches:
            detections = {**detections, **branch.detections(detections, predictions)}
        present = detections["confidence"][..., None] >= 0
        boxes = convert_boxes(detections["boxes"], "xyxy", self.bounding_box_format, image_size)
        return {**detections, "boxes": ops.where(present, boxes, -1.0)}

    def predict_step(self, *args):
        images = keras.utils.unpack_x_y_sample_weight(unpack_batch(args[-1]))[0]
        outputs = super().predict_step(*args[:-1], unpack_batch(args[-1]))
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

        def serve(images):
            # TensorFlow has operations that fail without an image, or end the process.
            count = ops.shape(images)[0]
            missing = ops.cast(ops.equal(count, 0), "int32")
            images = ops.concatenate([images, ops.zeros((missing, *images.shape[1:]))])
            found = self.decode_predictions(self(images, training=False), images)
            return {key: value[:count] for key, value in found.items()}

        archive = keras.export.ExportArchive()
        archive.track(self)
        archive.add_endpoint(
            name="serve",
            fn=serve,
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
            frozen_level: up to where the backbone is not trained; see
                `harmonic_tf.models.backbones.PyramidBackbone`.
            image_size: (height, width) instead of the preset's; the preset's anchors follow.
            **settings: arguments of the detector that take the place of the preset's.

        Raises:
            ValueError: if there is no such preset or backbone, or the weights cannot be had.
        """
        if preset not in cls.presets:
            raise ValueError(
                f"{cls.__name__} has no preset {preset!r}; it has {', '.join(sorted(cls.presets))}."
            )
        spec = cls.presets[preset]
        image_size = image_size or spec.image_size
        if np.shape(image_size) != (2,):
            raise ValueError(f"`image_size` must be (height, width). Received: {image_size!r}")
        backbone = build_backbone(
            backbone or spec.backbone,
            image_size,
            weights,
            freeze_batch_norm,
            frozen_level,
        )
        return cls(
            backbone=backbone,
            num_classes=num_classes,
            **{**spec.settings_at(image_size), **settings},
        )
