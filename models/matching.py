"""Which anchor learns which object."""

import functools

import keras
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.ops import BACKGROUND, IGNORED
from harmonic_tf.ops.compilation import compiled


def match(anchors, gt_boxes, positive_threshold, negative_threshold, force):
    """Assigns an object to each anchor by IoU.

    Args:
        anchors: `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2.
        gt_boxes: `(B, M, 4)`, of the same format; a box without area stands for none.
        positive_threshold: float. IoU from which an anchor is positive.
        negative_threshold: float. IoU below which it is background; between the two, ignored.
        force: bool. Whether each object also gets the anchor that overlaps it most, whatever its
            IoU, so that none goes without.

    Returns:
        `(index, label)`, int32 `(B, A)` each: the object of the anchor, and 0 for positive, -1 for
        background, -2 for ignored.
    """
    valid = boxes.has_area(gt_boxes)
    iou = keras.utils.bounding_boxes.compute_iou(anchors, gt_boxes, "xyxy")
    iou = ops.where(valid[:, None], iou, -1.0)
    best = ops.max(iou, axis=2)
    index = ops.cast(ops.argmax(iou, axis=2), "int32")
    label = ops.where(best >= negative_threshold, IGNORED, BACKGROUND)
    label = ops.where(best >= positive_threshold, 0, label)
    if force:
        overlaps = ops.logical_and(valid, ops.max(iou, axis=1) > 0)
        best_anchor = ops.where(overlaps, ops.cast(ops.argmax(iou, axis=1), "int32"), -1)
        numbers = ops.arange(ops.shape(iou)[1], dtype="int32")
        claims = ops.equal(numbers[:, None], best_anchor[:, None])
        claimed = ops.any(claims, axis=2)
        index = ops.where(claimed, ops.cast(ops.argmax(claims, axis=2), "int32"), index)
        label = ops.where(claimed, 0, label)
    return index, ops.cast(label, "int32")


def encode_targets(anchors, gt_boxes, gt_classes, variance, **thresholds):
    """The `y_true` of the contract for anchors and padded ground truth.

    Args:
        anchors: `(A, 4)` or, if images have their own, `(B, A, 4)`, x1, y1, x2, y2 in pixels.
        gt_boxes: `(B, M, 4)`, of the same format, padded with -1.
        gt_classes: `(B, M)`, padded with -1.
        variance: 4 floats that deltas are divided by.
        **thresholds: see `match`.

    Returns:
        `{"box": (B, A, 4), "classification": (B, A)}`, float32. The deltas of anchors without an
        object are zero.
    """
    anchors = ops.convert_to_tensor(anchors, "float32")
    encode = _compiled(len(anchors.shape), tuple(variance), **thresholds)
    gt_boxes, gt_classes = _pad(ops.cast(gt_boxes, "float32"), ops.cast(gt_classes, "float32"))
    box, classification = encode(anchors, gt_boxes, gt_classes)
    return {"box": box, "classification": classification}


@functools.lru_cache(maxsize=None)
def _compiled(rank, variance, **thresholds):
    """The compiled encoding; one for each rank of the anchors, so that it is always known."""

    def encode(anchors, gt_boxes, gt_classes):
        index, label = match(anchors, gt_boxes, **thresholds)
        positive = ops.equal(label, 0)
        matched = ops.take_along_axis(gt_boxes, index[..., None], axis=1)
        box = ops.where(positive[..., None], boxes.encode(matched, anchors, variance), 0.0)
        classes = ops.take_along_axis(gt_classes, index, axis=1)
        return box, ops.where(positive, classes, ops.cast(label, "float32"))

    return compiled(encode)


def _pad(gt_boxes, gt_classes, multiple=16):
    """Adds objects of no class and no area, at least one, so that every image has one to point
    at, up to a multiple, so that batches of other sizes seldom need another compilation."""
    extra = multiple - ops.shape(gt_classes)[1] % multiple
    gt_boxes = ops.where(gt_classes[..., None] >= 0, gt_boxes, -1.0)
    return (
        ops.pad(gt_boxes, [[0, 0], [0, extra], [0, 0]], constant_values=-1.0),
        ops.pad(gt_classes, [[0, 0], [0, extra]], constant_values=-1.0),
    )
