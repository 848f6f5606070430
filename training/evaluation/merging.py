"""Merging what several looks at the same images have found."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial

import numpy as np

from harmonic_tf.training.evaluation.average_precision import MAX_DETECTIONS, box_ious

MERGES = ("nms", "soft-nms")


def suppression(method, iou_threshold) -> Callable:
    """What `merge_detections` takes, by its name.

    Args:
        method: str. One of `MERGES`.
        iou_threshold: float. For `"nms"`; Soft-NMS has none.

    Raises:
        ValueError: If there is no such method.
    """
    if method == "nms":
        return partial(nms, iou_threshold=iou_threshold)
    if method == "soft-nms":
        return soft_nms
    raise ValueError(f"expected one of {', '.join(MERGES)}; received {method!r}")


def merge_detections(detections, suppress, max_detections=MAX_DETECTIONS) -> list:
    """Makes one list of detections of several: overlaps are settled by image and category.

    Args:
        detections: list of dict. COCO results of all looks together. What else a result holds,
            such as its mask, stays with its box.
        suppress: function of boxes (N, 4), as x, y, width, height, and scores (N,), such as
            `soft_nms`.
        max_detections: int. The best that are kept of an image. Defaults to `100`, COCO's.

    Returns:
        List of dict. Images in their order, the best detections of each first.

    Example:

    >>> box = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 40, 40]}
    >>> twice = [{**box, "score": 0.6}, {**box, "score": 0.9}]
    >>> merge_detections(twice, suppression("nms", iou_threshold=0.5))
    [{'image_id': 0, 'category_id': 1, 'bbox': [0, 0, 40, 40], 'score': 0.9}]
    """
    groups = defaultdict(list)
    for item in detections:
        groups[item["image_id"], item["category_id"]].append(item)
    images = defaultdict(list)
    for (image_id, _), items in groups.items():
        boxes = np.asarray([item["bbox"] for item in items], np.float64)
        rows, scores = suppress(boxes, np.asarray([item["score"] for item in items], np.float64))
        kept = zip(rows.tolist(), scores.tolist(), strict=True)
        images[image_id] += [{**items[row], "score": score} for row, score in kept]
    return [
        item
        for items in images.values()
        for item in sorted(items, key=lambda item: -item["score"])[:max_detections]
    ]


def nms(boxes, scores, iou_threshold):
    """Non-maximum suppression: the best of the boxes that overlap is kept.

    Args:
        boxes: array (N, 4). x, y, width, height.
        scores: array (N,).
        iou_threshold: float. A box is dropped if it overlaps a better one that is kept by more.

    Returns:
        Tuple `(rows, scores)`, (K,) each: which boxes are kept, the best first, and their scores.
        Of boxes with the same score the first is the better.
    """
    ious = box_ious(boxes, boxes)
    left = np.argsort(-scores, kind="stable")
    rows = []
    while left.size:
        best, left = left[0], left[1:]
        rows.append(best)
        left = left[ious[best, left] <= iou_threshold]
    rows = np.asarray(rows, np.intp)
    return rows, scores[rows]


def soft_nms(boxes, scores, sigma=0.5, min_score=0.001):
    """Soft-NMS (Bodla et al. 2017), Gaussian: boxes that overlap a better one lose score.

    Each box multiplies the scores of all worse ones by exp(-IoU^2 / sigma), equation (3). The
    defaults are the paper's and its code's.

    Args:
        boxes: array (N, 4). x, y, width, height.
        scores: array (N,).
        sigma: float. The larger, the gentler. Defaults to `0.5`.
        min_score: float. Boxes that come below it are dropped. Defaults to `0.001`.

    Returns:
        Tuple `(rows, scores)`, (K,) each: which boxes are kept, the best first, and the scores
        that they have left.
    """
    ious, scores = box_ious(boxes, boxes), scores.copy()
    left = np.flatnonzero(scores >= min_score)
    rows = []
    while left.size:
        best = left[np.argmax(scores[left])]
        rows.append(best)
        left = left[left != best]
        scores[left] *= np.exp(-np.square(ious[best, left]) / sigma)
        left = left[scores[left] >= min_score]
    rows = np.asarray(rows, np.intp)
    return rows, scores[rows]
