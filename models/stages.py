"""The stages of a detector: each predicts boxes relative to others, and learns which are objects.

A detector is a network and a row of stages, of which each may read earlier ones:

    SSD, FCOS      Dense("boxes")
    FSAF           Dense("anchor_based"), Dense("anchor_free")
    RefineDet      Dense("arm", detects=False), Dense("odm", after="arm", gate=0.99)
    Faster R-CNN   Dense("rpn", detects=False), Region("head", after="rpn")
    Cascade R-CNN  Dense("rpn", detects=False), Region("head1", after="rpn"),
                   Region("head2", after="head1"), Region("head3", after="head2")

`look` is the one walk over that row, in training and detection alike; `read` finds the same in what
a model has returned. The compiled loss judges the last stage.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.coders import CenterSize
from harmonic_tf.layouts import Layout
from harmonic_tf.models.nms import class_wise_nms
from harmonic_tf.models.sampling import Sampler, batched_gather
from harmonic_tf.ops import IGNORED


class Row(NamedTuple):
    """What a stage predicts for the A boxes of each image.

    Attributes:
        stage: the `Stage`.
        reference_boxes: `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2 in
            pixels; one without area stands for none. Carries no gradient.
        box: `(B, A, 4)` deltas or, with a box for each class, `(B, A, C, 4)`.
        classification: `(B, A, K)` logits.
        open: None, or bool `(B, A)`: the rows that an earlier stage has not closed.
        centerness: None, or logits `(B, A)` of how well placed a row is (Tian et al. 2019): scores
            of detections are the roots of class score times centre-ness.
    """

    stage: Any
    reference_boxes: Any
    box: Any
    classification: Any
    open: Any = None
    centerness: Any = None

    def scores(self):
        """Scores of detections, `(B, A, C)` in float32."""
        logits = ops.cast(self.classification, "float32")
        if self.stage.classification == "softmax":
            scores = ops.softmax(logits, axis=-1)[..., :-1]
        else:
            scores = ops.sigmoid(logits)
        if self.centerness is None:
            return scores
        centerness = ops.sigmoid(ops.cast(self.centerness, "float32"))
        return ops.sqrt(scores * centerness[..., None])

    def boxes(self):
        """The predicted boxes, `(B, A, 4)` or `(B, A, C, 4)`, x1, y1, x2, y2 in pixels."""
        deltas = ops.cast(self.box, "float32")
        reference_boxes = ops.convert_to_tensor(self.reference_boxes, "float32")
        if len(deltas.shape) == 4:
            reference_boxes = reference_boxes[..., None, :]
        return self.stage.coder.decode(deltas, reference_boxes)

    def detections(self, image_size):
        """Boxes within the image, and their scores: 0 where there is no box, or no object.

        Args:
            image_size: (height, width) in pixels.

        Returns:
            `(boxes, scores)`: `(B, A, 4)` or `(B, A, C, 4)`, and `(B, A, C)`.
        """
        found = boxes.clip(self.boxes(), image_size)
        visible = boxes.has_area(found)
        if len(visible.shape) == 2:
            visible = visible[..., None]
        exists = boxes.has_area(ops.convert_to_tensor(self.reference_boxes, "float32"))
        exists = exists if self.open is None else ops.logical_and(exists, self.open)
        visible = ops.logical_and(visible, exists[..., None])
        return found, ops.where(visible, self.scores(), 0.0)

    def loss_inputs(self, y_true):
        """The `y_pred` of the contract that goes with `targets`, with the box of its own class."""
        box = self.box
        if len(box.shape) == 4:
            own = ops.clip(ops.cast(y_true["classification"], "int32"), 0, box.shape[2] - 1)
            box = ops.take_along_axis(box, own[..., None, None], axis=2)[:, :, 0]
        classification = self.classification
        if self.stage.couples_centerness:
            classification = product_logits(classification, self.centerness[..., None])
        return {"box": box, "classification": classification}


def product_logits(a, b):
    """Logits of sigmoid(a) * sigmoid(b), in float32."""
    a, b = (ops.cast(x, "float32") for x in (a, b))
    return -ops.logaddexp(ops.logaddexp(-a, -b), -a - b)


class Lesson(NamedTuple):
    """What a stage learns from a batch: targets and predictions on the contract of the losses.

    Attributes:
        y_true: `{"box": (B, A, 4), "classification": (B, A)}`.
        y_pred: `{"box": (B, A, 4), "classification": (B, A, K)}`.
        count: None, or the number of rows that the loss is divided by instead of the positives.
    """

    y_true: dict
    y_pred: dict
    count: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What all stages have.

    Attributes:
        name: string.
        num_classes: int C; 1 for a stage that tells objects from background.
        targets: `harmonic_tf.models.matching.Matching`, or another function of a `Row` and ground
            truth that gives the `y_true` of the contract.
        coder: how boxes are predicted; see `harmonic_tf.coders`.
        classification: `"softmax"` (K = C + 1, background last) or `"focal"` (K = C).
        negative_ratio: float or None. The hard-negative mining that its loss needs.
        after: name of the stage whose boxes this one is relative to, or None.
        sampler: `Sampler` or None: which rows it learns from.
        harmonized: bool. Whether the compiled loss is also its own, or the standard one.
        detects: bool. Whether its boxes are detections.
        key_prefix: string before `"box"` and `"classification"` in the network's output.
        box_loss: of the standard loss, as in `harmonic_tf.losses.DetectionLoss`.
        couples_centerness: bool. Whether a joint loss takes class score times centre-ness for the
            score, instead of the class score.
    """

    name: str
    num_classes: int
    targets: Callable
    coder: CenterSize = CenterSize()
    classification: str = "softmax"
    negative_ratio: float | None = None
    after: str | None = None
    sampler: Sampler | None = None
    harmonized: bool = True
    detects: bool = True
    key_prefix: str = ""
    box_loss: str = "smooth_l1"
    couples_centerness: bool = False

    @property
    def loss_settings(self):
        """The arguments of a joint loss that this stage needs."""
        settings = {
            "classification": self.classification,
            "box_variance": self.coder.variance,
            "negative_ratio": self.negative_ratio,
        }
        if isinstance(self.coder, CenterSize):
            return settings
        background = "last" if self.classification == "softmax" else None
        return {**settings, "layout": Layout(box_coding=self.coder.name, background=background)}

    def key(self, name):
        """Its key in the network's output."""
        return f"{self.key_prefix}{name}"

    def predictions(self, outputs):
        """Its part of the network's output: `{"box", "classification"}`, maybe `"centerness"`."""
        names = ("box", "classification", "centerness")
        return {name: outputs[self.key(name)] for name in names if self.key(name) in outputs}

    def encode_targets(self, row, truth):
        """The `y_true` of the contract for ground truth; see `read_ground_truth`."""
        if self.num_classes == 1:  # to which every object is of the one class 0
            truth = {**truth, "classes": ops.minimum(truth["classes"], 0.0)}
        return self.targets(row, truth)

    def lesson(self, row, outputs, truth, seed):
        """What it learns; see `Lesson`."""
        y_true = self.encode_targets(row, truth)
        return Lesson(y_true, row.loss_inputs(y_true))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Stage):
    """A stage that predicts a box for every anchor, which an earlier stage may have moved.

    Attributes:
        anchors: function from (height, width) to anchors `(A, 4)`, x1, y1, x2, y2 in pixels.
        gate: float or None. Rows that the stage before calls background with a higher probability
            are closed: no negatives in training, no detections.
        level_sizes: number of anchors of each feature map, for proposals.
        proposals: pair of ints or None. Proposals of each level before NMS, and of an image after
            it, that a stage after this one looks at.
        sampled: function of the network's output and an index `(B, K)` of anchors to
            `{"box": (B, K, 4), "classification": (B, K, 2)}`, or None. A cheaper way to their
            predictions, with gradient, than all those of the network.
    """

    anchors: Callable
    gate: float | None = None
    level_sizes: tuple[int, ...] = ()
    proposals: tuple[int, int] | None = None
    sampled: Callable | None = None

    def read(self, outputs, rows, image_size):
        """Its row, which the network has predicted whole; see `look`."""
        reference_boxes, is_open = self.anchors(image_size), None
        if self.after:
            before = rows[self.after]
            reference_boxes = ops.stop_gradient(before.boxes())
            background = ops.softmax(ops.cast(before.classification, "float32"), axis=-1)[..., -1]
            is_open = background <= self.gate
        return Row(self, reference_boxes, **self.predictions(outputs), open=is_open)

    def look(self, outputs, rows, image_size, truth, seed, training):
        return self.read(outputs, rows, image_size)

    def encode_targets(self, row, truth):
        y_true = super().encode_targets(row, truth)
        if row.open is None:
            return y_true
        classes = y_true["classification"]
        used = ops.logical_or(row.open, classes >= 0)
        return {**y_true, "classification": ops.where(used, classes, IGNORED)}

    def lesson(self, row, outputs, truth, seed):
        if self.sampler is None:
            return super().lesson(row, outputs, truth, seed)
        y_true = self.encode_targets(row, truth)
        index, used = self.sampler(y_true["classification"], seed)
        box, classes = (batched_gather(y_true[key], index) for key in ("box", "classification"))
        y_true = {"box": box, "classification": ops.where(used, classes, IGNORED)}
        return Lesson(y_true, self.sampled(outputs, index), ops.sum(ops.cast(used, "float32")))

    def regions(self, row, image_size):
        """Its proposals: the best of each level after its own NMS (Lin et al. 2017).

        Returns:
            `(B, R, 4)`, best first, padded with boxes at -1 without area. Carries no gradient.
        """
        before, after = self.proposals
        found, scores = map(ops.stop_gradient, row.detections(image_size))
        chosen, level_scores = [], []
        starts = np.cumsum([0, *self.level_sizes[:-1]])
        for level, (start, count) in enumerate(zip(starts, self.level_sizes, strict=True)):
            best, index = ops.top_k(scores[:, start : start + count, 0], min(before, count))
            chosen.append(ops.take_along_axis(found, start + index[..., None], axis=1))
            one_level = ops.equal(ops.arange(len(self.level_sizes)), level)
            level_scores.append(ops.where(one_level, best[..., None], 0.0))
        kept = class_wise_nms(
            ops.concatenate(chosen, axis=1),
            ops.concatenate(level_scores, axis=1),
            score_threshold=0.0,
            iou_threshold=0.7,
            max_detections=after,
        )
        return kept["boxes"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Region(Stage):
    """A stage that looks at the boxes of an earlier one, each by itself.

    Attributes:
        head: Keras model from pooled features `(N, S, S, F)` to `{"box": (N, 4)` or `(N, 4 * C),
            "classification": (N, C + 1)}`.
        pool: function from the network's output and boxes `(B, R, 4)` to their pooled features
            `(B * R, S, S, F)`.
        averaged: names of earlier region stages. In detection the scores are the mean of theirs
            and its own.
    """

    head: Callable
    pool: Callable
    averaged: tuple[str, ...] = ()

    def is_returned(self, outputs):
        """Whether the model has returned its row."""
        return self.key("reference_boxes") in outputs

    def read(self, outputs, rows, image_size):
        """Its row, as the model has returned it."""
        return Row(self, outputs[self.key("reference_boxes")], **self.predictions(outputs))

    def look(self, outputs, rows, image_size, truth, seed, training):
        """Runs the head: in training on a sample of the boxes and the ground truth."""
        before = rows[self.after]
        regions = before.stage.regions(before, image_size)
        if truth is not None and self.sampler is not None:
            regions = self._sample(regions, truth, seed)
        row = self._row(outputs, regions, training)
        if truth is None and self.averaged:
            rows = [*(rows[name] for name in self.averaged), row]
            scores = [ops.softmax(x.classification, axis=-1) for x in rows]
            mean = ops.mean(ops.stack(scores), axis=0)
            row = row._replace(classification=ops.log(ops.maximum(mean, 1e-30)))
        return row

    def _sample(self, regions, truth, seed):
        regions = ops.concatenate([regions, truth["boxes"]], axis=1)
        labels = self.encode_targets(Row(self, regions, None, None), truth)["classification"]
        index, used = self.sampler(labels, seed)
        return ops.where(used[..., None], batched_gather(regions, index), -1.0)

    def _row(self, outputs, regions, training):
        count = regions.shape[1]
        predictions = self.head(self.pool(outputs, regions), training=training)
        boxes_a_region = predictions["box"].shape[-1] // 4
        own = (count, 4) if boxes_a_region == 1 else (count, boxes_a_region, 4)
        return Row(
            self,
            regions,
            ops.reshape(predictions["box"], (-1, *own)),
            ops.reshape(predictions["classification"], (-1, count, self.num_classes + 1)),
        )

    def encode_targets(self, row, truth):
        """As for every stage; what has no area is ignored."""
        y_true = super().encode_targets(row, truth)
        exists = boxes.has_area(row.reference_boxes)
        classes = ops.where(exists, y_true["classification"], IGNORED)
        return {**y_true, "classification": classes}

    def regions(self, row, image_size):
        """Its boxes within the image, `(B, R, 4)`, -1 where there is none. Carries no gradient."""
        moved = boxes.clip(ops.stop_gradient(row.boxes()), image_size)
        return ops.where(boxes.has_area(row.reference_boxes)[..., None], moved, -1.0)


def look(stages, outputs, image_size, truth=None, seed=None, training=False):
    """Walks over the stages, running those that look at regions.

    Args:
        stages: sequence of `Stage`.
        outputs: dictionary, what the network returned.
        image_size: (height, width) of the images in pixels.
        truth: ground truth of `read_ground_truth` to learn from; None in detection.
        seed: `keras.random.SeedGenerator` of the samples, or None for samples that are always the
            same.
        training: bool. Whether heads run in training mode.

    Returns:
        Dictionary of name to `Row`.
    """
    rows = {}
    for stage in stages:
        rows[stage.name] = stage.look(outputs, rows, image_size, truth, seed, training)
    return rows


def read(stages, predictions, image_size):
    """The rows, by name, that are in what a model has returned in detection.

    Args:
        stages: sequence of `Stage`.
        predictions: dictionary of the model.
        image_size: (height, width) of the images in pixels.
    """
    rows = {}
    for stage in stages:
        if isinstance(stage, Dense) or stage.is_returned(predictions):
            rows[stage.name] = stage.read(predictions, rows, image_size)
    return rows


def returned(rows):
    """The rows of stages that look at regions and detect, as a model returns them.

    Args:
        rows: dictionary of `Row`.

    Returns:
        Dictionary of `"reference_boxes"`, `"box"` and `"classification"`, each with the stage's
        prefix.
    """
    return {
        row.stage.key(name): getattr(row, name)
        for row in rows.values()
        if isinstance(row.stage, Region) and row.stage.detects
        for name in ("reference_boxes", "box", "classification")
    }
