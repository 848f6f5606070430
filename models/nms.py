"""Class-wise non-maximum suppression."""

import keras
from keras import ops

_CANDIDATES = 1000


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
    """The same on the `_CANDIDATES` best scores of each image, in any backend."""
    batch, anchor_count, class_count = scores.shape
    candidates = min(_CANDIDATES, anchor_count * class_count)
    confidence, flat = ops.top_k(ops.reshape(scores, (-1, anchor_count * class_count)), candidates)
    classes = flat % class_count
    if len(boxes.shape) == 4:
        rows, boxes = flat, ops.reshape(boxes, (-1, anchor_count * class_count, 4))
    else:
        rows = flat // class_count
    kept = ops.take_along_axis(boxes, rows[..., None], axis=1)

    overlap = keras.utils.bounding_boxes.compute_iou(kept, kept, "xyxy") > iou_threshold
    same_class = ops.equal(classes[:, :, None], classes[:, None, :])
    numbers = ops.arange(candidates)
    better = numbers[None, None, :] < numbers[None, :, None]
    rivals = ops.logical_and(ops.logical_and(overlap, same_class), better)

    def keep_unless_rival_kept(i, keep):
        beaten = ops.any(ops.logical_and(ops.take(rivals, i, axis=1), keep), axis=1)
        dropped = ops.logical_and(ops.equal(numbers, i), beaten[:, None])
        return ops.logical_and(keep, ops.logical_not(dropped))

    keep = ops.fori_loop(0, candidates, keep_unless_rival_kept, confidence > score_threshold)
    confidence = ops.where(keep, confidence, -1.0)
    # A fixed number of detections, also where there are fewer candidates.
    padding = [[0, 0], [0, max_detections]]
    confidence, best = ops.top_k(ops.pad(confidence, padding, constant_values=-1.0), max_detections)
    kept = ops.take_along_axis(ops.pad(kept, [*padding, [0, 0]]), best[..., None], axis=1)
    classes = ops.take_along_axis(ops.pad(classes, padding), best, axis=1)
    return kept, confidence, classes, ops.sum(ops.cast(confidence >= 0, "int32"), axis=1)
