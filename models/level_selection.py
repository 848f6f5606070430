"""Which level of a pyramid learns which object: the one that knows it best (Zhu et al. 2019)."""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.models.center_sampling import smallest
from harmonic_tf.models.matching import pad_objects
from harmonic_tf.models.sampling import batched_gather
from harmonic_tf.ops import BACKGROUND, IGNORED
from harmonic_tf.ops.compilation import compiled

_ALPHA, _GAMMA = 0.25, 2.0
_LEAST_IOU = 1e-6


@dataclasses.dataclass(frozen=True)
class LevelSelection:
    """Targets of a stage whose reference boxes are squares of one stride around its locations.

    An object is learned at one level: where focal loss - ln IoU, averaged over the locations of its
    effective region, is least. Locations of that region learn it, of several objects the smallest.
    Those of its ignored region at that level and the two beside it learn nothing, and all others
    are background. A location is in a region that its square overlaps; to learn an object it also
    lies in its box. No gradient flows through the choice.

    Attributes:
        effective: float. Sides of the effective region, in those of the object's box.
        ignored: float. Sides of the ignored region.
    """

    effective: float = 0.2
    ignored: float = 0.5

    def __post_init__(self):
        if not 0 < self.effective <= self.ignored <= 1:
            raise ValueError(
                "Of the sides of a box, the region that is `effective` must be a positive part, "
                "no larger than the one that is `ignored`, and that no more than 1. "
                f"Received: effective={self.effective!r}, ignored={self.ignored!r}"
            )

    def __call__(self, row, truth):
        """The `y_true` of the contract for a `Row` of a stage and ground truth."""
        if row.box is None:
            raise ValueError(
                "Which level learns an object depends on the predictions. Expected `predictions`, "
                "as the model returned them. Received: None"
            )
        squares = np.asarray(row.reference_boxes, "float32")
        strides, level = np.unique(squares[:, 2] - squares[:, 0], return_inverse=True)
        levels = np.eye(len(strides))[level]
        squares, levels, found, logits = (
            ops.stop_gradient(ops.cast(x, "float32"))
            for x in (squares, levels, row.box, row.classification)
        )
        objects = pad_objects(truth["boxes"], truth["classes"])
        encode = _compiled(self, row.stage.coder, row.stage.num_classes)
        box, classification = encode(squares, levels, found, logits, *objects)
        return {"box": box, "classification": classification}


@functools.lru_cache(maxsize=None)
def _compiled(selection, coder, num_classes):
    # Of one number of classes: a program for several would not know how wide one-hot rows are.
    def encode(squares, levels, box, logits, gt_boxes, gt_classes):
        effective, ignored = (
            overlaps(squares, scaled(gt_boxes, size))
            for size in (selection.effective, selection.ignored)
        )
        effective = ops.logical_and(effective, contains(gt_boxes, squares))
        cost = focal_loss(logits, gt_classes, num_classes)
        cost = cost + log_iou_loss(coder.decode(box, squares), gt_boxes)
        away = levels_away(levels, cost, effective)
        learns = ops.logical_and(effective, ops.equal(away, 0))
        ignores = ops.any(ops.logical_and(ignored, away <= 1), axis=2)

        index, positive = smallest(learns, gt_boxes)
        others = ops.where(ignores, float(IGNORED), float(BACKGROUND))
        classes = ops.where(positive, batched_gather(gt_classes, index), others)
        target = coder.encode(batched_gather(gt_boxes, index), squares)
        return ops.where(positive[..., None], target, 0.0), classes

    return compiled(encode)


def levels_away(levels, cost, effective):
    """How many levels each location is from the one that knows an object best.

    Args:
        levels: `(A, L)`, one-hot: the level of each location, finest first.
        cost: `(B, A, M)`. Loss of each location, if it learned the object.
        effective: bool `(B, A, M)`: the locations that the loss of a level is averaged over.

    Returns:
        int32 `(B, A, M)`; 2 for an object that has no such location, which no level learns.
    """
    where = ops.cast(effective, cost.dtype)
    counts = ops.einsum("bam,al->blm", where, levels)
    sums = ops.einsum("bam,al->blm", ops.where(effective, cost, 0.0), levels)
    means = ops.where(counts > 0, sums / ops.maximum(counts, 1.0), float("inf"))
    best = ops.cast(ops.argmin(means, axis=1), "int32")
    own = ops.cast(ops.argmax(levels, axis=1), "int32")
    away = ops.abs(own[:, None] - best[:, None])
    known = ops.any(counts > 0, axis=1)
    return ops.where(known[:, None], away, 2)


def scaled(gt_boxes, size):
    """Boxes `(..., 4)` with the same centres and `size` times the sides."""
    low, high = gt_boxes[..., :2], gt_boxes[..., 2:]
    centre, half = (low + high) / 2, size * (high - low) / 2
    return ops.concatenate([centre - half, centre + half], axis=-1)


def overlaps(squares, regions):
    """Which squares `(A, 4)` share an area with which regions `(B, M, 4)`: bool `(B, A, M)`."""
    low = ops.maximum(squares[:, None, :2], regions[:, None, :, :2])
    high = ops.minimum(squares[:, None, 2:], regions[:, None, :, 2:])
    return ops.all(high > low, axis=-1)


def contains(gt_boxes, squares):
    """Which boxes `(B, M, 4)` the centres of which squares `(A, 4)` lie in: bool `(B, A, M)`."""
    point = (squares[:, None, :2] + squares[:, None, 2:]) / 2
    low, high = gt_boxes[:, None, :, :2], gt_boxes[:, None, :, 2:]
    return ops.all(ops.logical_and(point > low, point < high), axis=-1)


def focal_loss(logits, gt_classes, num_classes):
    """Focal loss `(B, A, M)` of each location's scores `(B, A, C)`, if it learned the object."""
    score = ops.sigmoid(logits)
    background = (1 - _ALPHA) * score**_GAMMA * ops.softplus(logits)
    foreground = _ALPHA * (1 - score) ** _GAMMA * ops.softplus(-logits)
    own = ops.cast(ops.maximum(gt_classes, 0.0), "int32")
    own = ops.one_hot(own, num_classes, dtype=logits.dtype)
    difference = ops.einsum("bac,bmc->bam", foreground - background, own)
    return ops.sum(background, axis=-1)[..., None] + difference


def log_iou_loss(found, gt_boxes):
    """-ln IoU `(B, A, M)` of boxes `(B, A, 4)` with objects `(B, M, 4)`."""
    iou = keras.utils.bounding_boxes.compute_iou(found, gt_boxes, "xyxy")
    iou = ops.where(boxes.has_area(gt_boxes)[:, None], iou, 0.0)
    return -ops.log(ops.maximum(iou, _LEAST_IOU))
