"""Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)."""

import keras
from keras import layers, ops

from harmonic_tf.boxes import has_area
from harmonic_tf.models.anchors import grid_anchors, ratio_anchor_shapes
from harmonic_tf.models.backbones.backbone import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.pyramid import FeaturePyramid
from harmonic_tf.models.layers.roi_align import flatten_features, roi_align
from harmonic_tf.models.region_heads import box_head
from harmonic_tf.models.rpn import RPNHead, propose
from harmonic_tf.models.sampling import subsample_labels
from harmonic_tf.models.schedules import FULL_SIZE, TINY
from harmonic_tf.ops import IGNORED, global_sum

_RATIOS = (0.5, 1.0, 2.0)
_VARIANCE = (0.1, 0.1, 0.2, 0.2)
_MATCHING = {"positive_threshold": 0.5, "negative_threshold": 0.5, "force": False}
_RPN_MATCHING = {"positive_threshold": 0.7, "negative_threshold": 0.3, "force": True}


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
        rpn_batch: int. Anchors that the RPN learns from in an image, at most half positives.
        head_batch: int. Regions that the head learns from in an image, at most a quarter of them
            positives.
        proposals: pair of ints. Proposals before NMS, of each level, and after it, of an image.
        harmonize_rpn: bool. Whether the compiled loss is also that of the RPN.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept an image.
        name: string.

    Example:

    >>> model = FasterRCNN.from_preset("faster_rcnn_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    classification = "softmax"
    positive_fraction = 0.25
    roi_size = 7

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        *,
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
            matching=_MATCHING,
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
        self.head = self._head("head")
        self.built = True

    def _first_stage(self):
        """The network up to the RPN, and (height, width) of its maps, which all have anchors."""
        images = keras.Input(self.backbone.input_shape[1:], name="images")
        features = pyramid_features(self.backbone, self.levels)(images)
        maps = FeaturePyramid(self.levels, 0, self.filters, name="pyramid")(features)
        coarser = layers.MaxPooling2D(1, 2, padding="same", name="coarser")(maps[-1])
        maps = [*maps, coarser]
        rpn = RPNHead(len(_RATIOS), self.filters, name="rpn")(maps)
        outputs = {
            "cells": flatten_features(maps),
            **{f"rpn_{key}": value for key, value in rpn.items()},
        }
        network = keras.Model(images, outputs, name="first_stage")
        return network, [tuple(x.shape[1:3]) for x in maps]

    def _head(self, name):
        boxes_a_region = 1 if self.class_agnostic else self.num_classes
        return box_head(
            self.roi_size, self.filters, self.head_units, self.num_classes, boxes_a_region, name
        )

    def call(self, images, training=None):
        predictions = self.first_stage(images, training=training)
        if training:
            return predictions
        rois = self._propose(predictions)
        return {
            **predictions,
            **self._head_predictions(self.head, predictions["cells"], rois, training),
        }

    def _propose(self, predictions):
        before, after = self.proposals
        return propose(
            predictions,
            self.anchors(self.image_size),
            [len(_RATIOS) * height * width for height, width in self._map_sizes],
            self.image_size,
            _VARIANCE,
            before,
            after,
        )

    def _head_predictions(self, head, cells, rois, training):
        """What a box head predicts for regions `(B, R, 4)`."""
        count = rois.shape[1]
        predictions = head(self._pool(cells, rois, self.roi_size), training=training)
        logits = ops.reshape(predictions["classification"], (-1, count, self.num_classes + 1))
        shape = (-1, count, 4) if self.class_agnostic else (-1, count, self.num_classes, 4)
        return {
            "rois": rois,
            "box": ops.reshape(predictions["box"], shape),
            "classification": logits,
        }

    def _pool(self, cells, rois, size):
        """The features of regions `(B, R, 4)`: `(B * R, size, size, F)`.

        The coarsest map, which only has anchors, is not among those that regions are read from.
        """
        sizes = self._map_sizes[: len(self.levels)]
        pooled = roi_align(cells, sizes, rois, self.image_size, size)
        return ops.reshape(pooled, (-1, size, size, self.filters))

    @property
    def image_size(self):
        return tuple(self.backbone.input_shape[1:3])

    def anchors(self, image_size):
        shapes = ratio_anchor_shapes(self.anchor_sizes, _RATIOS)
        return grid_anchors(image_size, self._map_sizes, shapes)

    def references(self, image_size, predictions=None):
        """The regions, `(B, R, 4)`."""
        self._require_predictions(predictions)
        return predictions["rois"]

    def _targets(self, y, image_size, references, matching, variance):
        """As for every detector; what has no area is ignored."""
        targets = super()._targets(y, image_size, references, matching, variance)
        classes = ops.where(has_area(references), targets["classification"], IGNORED)
        return {**targets, "classification": classes}

    def loss_inputs(self, predictions, targets):
        box = predictions["box"]
        if not self.class_agnostic:
            own = ops.maximum(ops.cast(targets["classification"], "int32"), 0)
            box = ops.take_along_axis(box, own[..., None, None], axis=2)[:, :, 0]
        return {"box": box, "classification": predictions["classification"]}

    def scores(self, predictions):
        found = has_area(predictions["rois"])
        return ops.where(found[..., None], super().scores(predictions), 0.0)

    def last_stage(self, y, predictions, image_size):
        """Adds the head's predictions for a sample of the proposals and the ground truth."""
        truth = self._boxes(y, image_size)
        candidates = ops.concatenate([self._propose(predictions), truth], axis=1)
        targets = self._targets(y, image_size, candidates, _MATCHING, _VARIANCE)
        index, used = subsample_labels(
            targets["classification"], self.head_batch, self.positive_fraction, self.seed_generator
        )
        rois = ops.take_along_axis(candidates, index[..., None], axis=1)
        rois = ops.where(used[..., None], rois, -1.0)
        return {
            **predictions,
            **self._head_predictions(self.head, predictions["cells"], rois, training=True),
        }

    def further_losses(self, y, image_size, predictions, sample_weight):
        """The RPN's loss."""
        targets = self._objectness_targets(y, image_size, _RPN_MATCHING, _VARIANCE)
        index, used = subsample_labels(
            targets["classification"], self.rpn_batch, 0.5, self.seed_generator
        )
        sampled = {
            "box": ops.take_along_axis(targets["box"], index[..., None], axis=1),
            "classification": ops.where(
                used, ops.take_along_axis(targets["classification"], index, axis=1), IGNORED
            ),
        }
        rpn = self.first_stage.get_layer("rpn")(predictions["cells"], index)
        loss = self._stage_loss(self.harmonize_rpn, _VARIANCE)
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


def presets(family, training=TINY, **tiny):
    """The presets of Faster R-CNN and its kin.

    Args:
        family: string that their names begin with.
        training: how the tiny one is trained; see `models.schedules`.
        **tiny: further arguments of the detector in the tiny one.

    Returns:
        Dictionary of name to `Preset`.
    """
    return {
        **{
            f"{family}_{backbone}_fpn": Preset(
                backbone, (800, 800), lambda num_classes: {}, FULL_SIZE
            )
            for backbone in ("resnet50", "resnet101", "resnext101_32x8d")
        },
        f"{family}_tiny": Preset(
            "tiny", (160, 208), lambda num_classes: {**_TINY, **tiny}, training
        ),
    }


_TINY = {
    "levels": ("P3", "P4", "P5"),
    "anchor_sizes": (20, 40, 76, 130),
    "filters": 64,
    "head_units": 128,
    "rpn_batch": 128,
    "head_batch": 64,
    "proposals": (200, 100),
}
FasterRCNN.presets = presets("faster_rcnn")
