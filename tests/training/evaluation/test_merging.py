"""Merging: expectations by hand and by the formula of Soft-NMS."""

import math
from functools import partial

import numpy as np
import pytest

from harmonic_tf.training.evaluation.merging import (
    merge_detections,
    nms,
    soft_nms,
    suppression,
)

# Of 10 x 10 px: IoU with the first is 1/3 for the second and 0 for the third.
ROW = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [30, 0, 10, 10]], float)
METHODS = [partial(nms, iou_threshold=0.5), soft_nms]


def result(box, score, image_id=1, category_id=1, **more):
    keys = {"image_id": image_id, "category_id": category_id}
    return {**keys, "bbox": list(box), "score": score, **more}


@pytest.mark.parametrize(("iou_threshold", "expected"), [(0.3, [1, 2]), (0.4, [1, 0, 2])])
def test_nms_keeps_the_best_of_those_that_overlap(iou_threshold, expected):
    rows, scores = nms(ROW, np.array([0.8, 0.9, 0.1]), iou_threshold)
    assert rows.tolist() == expected
    assert scores.tolist() == [[0.8, 0.9, 0.1][row] for row in expected]


def test_nms_threshold_itself_is_allowed_and_what_is_dropped_drops_nothing():
    half = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], float)
    assert nms(half, np.array([0.9, 0.8]), 0.5)[0].tolist() == [0, 1]
    chain = np.array([[0, 0, 10, 10], [4, 0, 10, 10], [8, 0, 10, 10]], float)
    assert nms(chain, np.array([0.9, 0.8, 0.7]), 0.4)[0].tolist() == [0, 2]


def test_nms_takes_the_first_of_equals():
    rows, _ = nms(ROW[[0, 0, 2]], np.array([0.5, 0.5, 0.5]), 0.5)
    assert rows.tolist() == [0, 2]


def test_soft_nms_by_its_formula():
    """Three boxes in a chain: the second lowers the third, which the first does not touch."""
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10]], float)
    given = np.array([0.9, 0.8, 0.7])
    decay = math.exp(-((1 / 3) ** 2) / 0.5)
    second = 0.8 * decay  # 0.641
    third = 0.7 * decay  # below the third's 0.7 before it is lowered, so the third goes first
    assert second < 0.7
    rows, scores = soft_nms(boxes, given)
    assert rows.tolist() == [0, 2, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.7, second * decay])
    assert given.tolist() == [0.9, 0.8, 0.7]
    rows, scores = soft_nms(boxes, np.array([0.9, 0.89, 0.7]))
    assert rows.tolist() == [0, 1, 2]
    assert scores.tolist() == pytest.approx([0.9, 0.89 * decay, third])


def test_soft_nms_of_identical_boxes():
    """IoU 1: every further one loses a factor e^-2 at sigma 0.5, until too little is left."""
    rows, scores = soft_nms(ROW[[0] * 6], np.full(6, 0.8))
    assert rows.tolist() == [0, 1, 2, 3]
    assert scores.tolist() == pytest.approx([0.8 * math.exp(-2 * i) for i in range(4)])
    assert 0.8 * math.exp(-2 * 4) < 0.001
    assert soft_nms(ROW[:1], np.array([0.0005]))[0].size == 0


@pytest.mark.parametrize("suppress", METHODS)
def test_nothing_stays_nothing(suppress):
    rows, scores = suppress(np.zeros((0, 4)), np.zeros(0))
    assert rows.tolist() == scores.tolist() == []
    assert merge_detections([], suppress) == []


@pytest.mark.parametrize("suppress", METHODS)
def test_images_and_categories_are_kept_apart(suppress):
    box = (0, 0, 10, 10)
    given = [result(box, 0.5), result(box, 0.6, category_id=7), result(box, 0.7, image_id=2)]
    assert merge_detections(given, suppress) == [given[1], given[0], given[2]]


def test_merged_keep_their_masks_and_the_best_of_an_image():
    given = [
        result((0, 0, 10, 10), 0.6, segmentation="worse"),
        result((1, 0, 10, 10), 0.9, segmentation="better"),
        result((50, 0, 10, 10), 0.2, category_id=2),
        result((80, 0, 10, 10), 0.3, category_id=2),
    ]
    merged = merge_detections(given, suppression("nms", 0.5), max_detections=2)
    assert merged == [given[1], given[3]]
    soft = merge_detections(given, suppression("soft-nms", 0.5))
    assert [item["score"] for item in soft] == pytest.approx(
        [0.9, 0.3, 0.2, 0.6 * math.exp(-((9 / 11) ** 2) / 0.5)]
    )
    assert [item.get("segmentation") for item in soft] == ["better", None, None, "worse"]
    assert given[0]["score"] == 0.6
    assert all(type(item["score"]) is float for item in soft)


@pytest.mark.parametrize("suppress", METHODS)
def test_random_boxes_have_finite_falling_scores(suppress):
    random = np.random.default_rng(0)
    boxes = random.uniform(0, 20, (200, 4))
    given = [result(box, random.uniform()) for box in boxes]
    scores = np.array([item["score"] for item in merge_detections(given, suppress)])
    assert 0 < len(scores) <= 100
    assert np.all(np.isfinite(scores)) and np.all(np.diff(scores) <= 0)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="expected one of nms, soft-nms; received 'wbf'"):
        suppression("wbf", 0.5)
