"""Class-wise non-maximum suppression."""

import keras
from keras import ops


def class_wise_nms(boxes, scores, score_threshold, iou_threshold, max_detections):
    """Keeps, class by class, the best-scored of the boxes that overlap.

    Args:
        boxes: float tensor `(B, A, 4)` or, for each class its own, `(B, A, C, 4)`, x1, y1, x2, y2.
        scores: float tensor `(B, A, C)`.
        score_threshold: float. Only higher scores are looked at.
        iou_threshold: float. A box is dropped if it overlaps a better one of its class by more.
        max_detections: int D. Detections kept an image, over all classes.

    Returns:
        `{"boxes": (B, D, 4), "confidence": (B, D), "classes": (B, D), "num_detections": (B,)}`,
        best first, padded with -1: KerasCV's dictionary.
    """
    backend = keras.backend.backend()
    suppress = _with_tensorflow if backend == "tensorflow" else _with_keras
    kept, confidence, classes, count = suppress(
        boxes, scores, score_threshold, iou_threshold, max_detections
    )
    present = ops.arange(max_detections) < count[:, None]
    return {
        "boxes": ops.where(present[..., None], kept, -1.0),
        "confidence": ops.where(present, confidence, -1.0),
        "classes": ops.cast(ops.where(present, classes, -1), "int32"),
        "num_detections": ops.cast(count, "int32"),
    }


def _with_tensorflow(boxes, scores, score_threshold, iou_threshold, max_detections):
    import tensorflow as tf

    return tf.image.combined_non_max_suppression(
        boxes if len(boxes.shape) == 4 else boxes[:, :, None],
        scores,
        max_output_size_per_class=max_detections,
        max_total_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        clip_boxes=False,
    )


def _with_keras(boxes, scores, score_threshold, iou_threshold, max_detections):
    """The same in any backend: the best box left is kept, and those of its class near it go."""
    _, anchor_count, class_count = scores.shape
    rows, columns, places = (ops.arange(n) for n in (anchor_count, class_count, max_detections))

    def keep_best(place, state):
        scores, kept, confidence, classes = state
        flat = ops.reshape(scores, (-1, anchor_count * class_count))
        best = ops.argmax(flat, axis=1)
        row, label = best // class_count, best % class_count
        own = boxes
        if len(boxes.shape) == 4:
            own = ops.take_along_axis(boxes, label[:, None, None, None], axis=2)[:, :, 0]
        box = ops.take_along_axis(own, row[:, None, None], axis=1)
        near = keras.utils.bounding_boxes.compute_iou(box, own, "xyxy")[:, 0] > iou_threshold
        gone = ops.logical_or(near, ops.equal(rows, row[:, None]))
        gone = ops.logical_and(gone[..., None], ops.equal(columns, label[:, None])[:, None])
        here = ops.equal(places, place)
        return (
            ops.where(gone, -1.0, scores),
            ops.where(here[:, None], box, kept),
            ops.where(here, ops.max(flat, axis=1)[:, None], confidence),
            ops.where(here, label[:, None], classes),
        )

    nothing = ops.zeros_like(scores[:, :1, 0]) - ops.ones(max_detections, scores.dtype)
    state = (
        ops.where(scores > score_threshold, scores, -1.0),
        ops.repeat(nothing[..., None], 4, axis=-1),
        nothing,
        ops.zeros_like(ops.argmax(scores[:, :1], axis=-1)) + ops.zeros_like(places),
    )
    _, kept, confidence, classes = ops.fori_loop(0, max_detections, keep_best, state)
    return kept, confidence, classes, ops.sum(ops.cast(confidence >= 0, "int32"), axis=1)
