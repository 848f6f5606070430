"""Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)."""

import keras
from keras import layers, ops

from harmonic_tf.losses import DetectionLoss
from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.models.anchors import grid_anchors, ratio_anchor_shapes
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.pyramid import FeaturePyramid
from harmonic_tf.models.roi import roi_align, sample_rows
from harmonic_tf.models.rpn import propose, rpn_head
from harmonic_tf.ops import IGNORED, global_sum

_RATIOS = (0.5, 1.0, 2.0)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class FasterRCNN(Detector, keras.Model):
    """Two-stage detector: a region proposal network (RPN), then a head that looks at each region.

    The compiled loss is that of the head, on a sample of the proposals and the ground truth, with
    deltas relative to them; no gradient flows through the proposals. The RPN has the standard loss
    over object and background, on a sample of the anchors, divided by its size.

    In training the model returns the first stage alone, `compute_loss` samples regions and runs the
    head on them: one pass through the backbone a step. Otherwise it returns the predictions of the
    contract for its proposals, `"rois"` `(B, R, 4)` in pixels.

    Args:
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        levels: the backbone's levels that enter the feature pyramid, finest first; the RPN has a
            coarser one besides.
        anchor_sizes: square root of the anchors' area in pixels, for each of the RPN's levels;
            each has the ratios 1/2, 1 and 2.
        filters: int. Channels of the feature pyramid.
        head_units: int. Units of each of the head's two dense layers.
        class_agnostic: bool. Whether a region has one box, or one for each class.
        rpn_batch: int. Anchors that the RPN learns from in a picture, at most half positives.
        head_batch: int. Regions that the head learns from in a picture, at most a quarter of them
            positives.
        proposals: pair of ints. Proposals before NMS, of each level, and after it, of a picture.
        harmonize_rpn: bool. Whether the compiled loss is also that of the RPN.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept a picture.
        name: string.

    Example:

    >>> model = FasterRCNN.from_preset("faster_rcnn_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    classification = "softmax"
    roi_size = 7

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        levels=("P2", "P3", "P4", "P5"),
        anchor_sizes=(32, 64, 128, 256, 512),
        filters=256,
        head_units=1024,
        class_agnostic=False,
        rpn_batch=256,
        head_batch=512,
        proposals=(2000, 1000),
        harmonize_rpn=False,
        score_threshold=0.05,
        nms_threshold=0.5,
        max_detections=100,
        name=None,
    ):
        super().__init__(name=name)
        self.backbone = backbone
        self.levels = tuple(levels)
        self.anchor_sizes = tuple(anchor_sizes)
        self.filters = filters
        self.head_units = head_units
        self.class_agnostic = class_agnostic
        self.rpn_batch = rpn_batch
        self.head_batch = head_batch
        self.proposals = tuple(proposals)
        self.harmonize_rpn = harmonize_rpn
        self._set_up(
            num_classes,
            bounding_box_format,
            matching={"positive_threshold": 0.5, "negative_threshold": 0.5, "force": False},
            decoding={
                "score_threshold": score_threshold,
                "iou_threshold": nms_threshold,
                "max_detections": max_detections,
            },
        )
        self.rpn_metric = keras.metrics.Mean(name="rpn_loss")
        self.seed_generator = keras.random.SeedGenerator()
        self.sampling_state = self.seed_generator.state  # a variable of the model's, to be saved
        self.first_stage, self._map_sizes = self._first_stage()
        self.head = self._head()
        self.built = True

    def _first_stage(self):
        """The network up to the RPN, and (height, width) of the maps that have anchors."""
        images = keras.Input(self.backbone.input_shape[1:], name="images")
        features = pyramid_features(self.backbone, self.levels)(images)
        maps = FeaturePyramid(self.levels, 0, self.filters, name="pyramid")(features)
        coarser = layers.MaxPooling2D(1, 2, padding="same", name="coarser")(maps[-1])
        with_anchors = [*maps, coarser]
        rpn = rpn_head(with_anchors, len(_RATIOS), self.filters)
        network = keras.Model(images, {"maps": maps, **rpn}, name="first_stage")
        return network, [tuple(x.shape[1:3]) for x in with_anchors]

    def _head(self):
        """The second stage, of the features of one region."""
        pooled = keras.Input((self.roi_size, self.roi_size, self.filters))
        x = layers.Flatten()(pooled)
        for i in range(2):
            x = layers.Dense(
                self.head_units, "relu", kernel_initializer="he_normal", name=f"head_{i}"
            )(x)
        boxes_a_region = 1 if self.class_agnostic else self.num_classes
        columns = {"box": 4 * boxes_a_region, "classification": self.num_classes + 1}
        outputs = {
            key: layers.Dense(
                size,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                dtype="float32",
                name=key,
            )(x)
            for key, size in columns.items()
        }
        return keras.Model(pooled, outputs, name="head")

    def call(self, images, training=None):
        predictions = self.first_stage(images, training=training)
        if training:
            return predictions
        rois = self._propose(predictions)
        return {**predictions, **self._second_stage(predictions, rois, training)}

    def _propose(self, predictions):
        before, after = self.proposals
        return propose(
            predictions,
            self.anchors(self.image_size),
            [len(_RATIOS) * height * width for height, width in self._map_sizes],
            self.image_size,
            self.box_variance,
            before,
            after,
        )

    def _second_stage(self, predictions, rois, training):
        count = rois.shape[1]
        pooled = roi_align(predictions["maps"], rois, self.image_size, self.roi_size)
        pooled = ops.reshape(pooled, (-1, *pooled.shape[2:]))
        head = self.head(pooled, training=training)
        logits = ops.reshape(head["classification"], (-1, count, self.num_classes + 1))
        shape = (-1, count, 4) if self.class_agnostic else (-1, count, self.num_classes, 4)
        return {"rois": rois, "box": ops.reshape(head["box"], shape), "classification": logits}

    @property
    def image_size(self):
        return tuple(self.backbone.input_shape[1:3])

    def anchors(self, image_size):
        shapes = ratio_anchor_shapes(self.anchor_sizes, _RATIOS)
        return grid_anchors(image_size, self._map_sizes, shapes)

    def references(self, image_size, predictions=None):
        """The proposals, `(B, R, 4)`."""
        return predictions["rois"]

    def encode_targets(self, y, image_size=None, predictions=None):
        """The head's targets, relative to the proposals; those without area are ignored."""
        targets = super().encode_targets(y, image_size, predictions)
        classes = ops.where(_has_area(predictions["rois"]), targets["classification"], IGNORED)
        return {**targets, "classification": classes}

    def on_contract(self, predictions, targets):
        box = predictions["box"]
        if not self.class_agnostic:
            own = ops.maximum(ops.cast(targets["classification"], "int32"), 0)
            box = ops.take_along_axis(box, own[..., None, None], axis=2)[:, :, 0]
        return {"box": box, "classification": predictions["classification"]}

    def scores(self, predictions):
        found = _has_area(predictions["rois"])
        return ops.where(found[..., None], super().scores(predictions), 0.0)

    def last_stage(self, y, predictions, image_size):
        """The head's predictions for a sample of the proposals and the ground truth."""
        truth = self._boxes(y, image_size)
        candidates = ops.concatenate([self._propose(predictions), truth], axis=1)
        label = self.encode_targets(y, image_size, {"rois": candidates})["classification"]
        index, used = sample_rows(label, self.head_batch, 0.25, self.seed_generator)
        rois = ops.take_along_axis(candidates, index[..., None], axis=1)
        rois = ops.where(used[..., None], rois, -1.0)
        return self._second_stage(predictions, rois, training=True)

    def earlier_loss(self, y, image_size, predictions, sample_weight):
        """The RPN's loss: every object is of its one class."""
        objects = {**y, "classes": ops.minimum(ops.cast(y["classes"], "float32"), 0.0)}
        matching = {"positive_threshold": 0.7, "negative_threshold": 0.3, "force": True}
        targets = self._targets(objects, image_size, self.anchors(image_size), matching)
        index, used = sample_rows(
            targets["classification"], self.rpn_batch, 0.5, self.seed_generator
        )
        sampled = {
            "box": ops.take_along_axis(targets["box"], index[..., None], axis=1),
            "classification": ops.where(
                used, ops.take_along_axis(targets["classification"], index, axis=1), IGNORED
            ),
        }
        rpn = {
            key: ops.take_along_axis(predictions[f"rpn_{key}"], index[..., None], axis=1)
            for key in sampled
        }
        harmonized = self.harmonize_rpn and isinstance(self.loss, JointLoss)
        loss = self.loss if harmonized else DetectionLoss(**self.loss_settings)
        total, parts = loss.with_parts(sampled, rpn, sample_weight)
        positives = ops.maximum(global_sum(ops.sum(parts.positive)), 1.0)
        count = ops.sum(ops.cast(used, "float32"))
        mean = ops.sum(parts.total) / ops.maximum(count, 1.0)
        self.rpn_metric.update_state(mean, sample_weight=count)
        return total * positives / ops.maximum(global_sum(count), 1.0)

    def get_config(self):
        return {
            **super().get_config(),
            "levels": self.levels,
            "anchor_sizes": self.anchor_sizes,
            "filters": self.filters,
            "head_units": self.head_units,
            "class_agnostic": self.class_agnostic,
            "rpn_batch": self.rpn_batch,
            "head_batch": self.head_batch,
            "proposals": self.proposals,
            "harmonize_rpn": self.harmonize_rpn,
        }


def _has_area(boxes):
    return ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def _preset(backbone, image_size, **settings):
    return Preset(backbone, image_size, lambda num_classes: settings)


FasterRCNN.presets_by_name = {
    **{
        f"faster_rcnn_{backbone}_fpn": _preset(backbone, (800, 800))
        for backbone in ("resnet50", "resnet101", "resnext101_32x8d")
    },
    "faster_rcnn_tiny": _preset(
        "tiny",
        (160, 208),
        levels=("P3", "P4", "P5"),
        anchor_sizes=(20, 40, 76, 130),
        filters=64,
        head_units=128,
        rpn_batch=128,
        head_batch=64,
        proposals=(200, 100),
    ),
}
