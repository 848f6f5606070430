"""Which level learns an object, by hand, on two levels with strides of 8 and 16."""

import dataclasses

import keras
import numpy as np
import pytest

from harmonic_tf.coders import Distances
from harmonic_tf.models.anchors import strided_squares
from harmonic_tf.models.level_selection import (
    LevelSelection,
    focal_loss,
    log_iou_loss,
    overlaps,
    scaled,
)
from harmonic_tf.models.stages import Dense, Row

STRIDES = (8, 16)
SQUARES = strided_squares((64, 64), STRIDES)  # 8 x 8 and 4 x 4 locations
LEVEL = np.array([0] * 64 + [1] * 16)
STAGE = Dense(
    name="free",
    num_classes=3,
    classification="focal",
    anchors=lambda image_size: SQUARES,
    targets=LevelSelection(),
    coder=Distances(),
)


def targets(objects, sure_of=None, squares=SQUARES, wrong=-9.0):
    """Positives as {(stride, x, y): class}, the ignored as a set, and the target distances.

    Each location says no class with a logit of `wrong` and predicts a square of two strides; those
    of the level `sure_of` say class 0 instead.
    """
    boxes, classes = (np.array([x], "float32") for x in zip(*objects, strict=True))
    box = np.ones((1, len(squares), 4), "float32")
    logits = np.full((1, len(squares), 3), wrong, "float32")
    if sure_of is not None:
        logits[:, LEVEL == sure_of, 0] = 5.0
    y_true = STAGE.encode_targets(
        Row(STAGE, squares, box, logits), {"boxes": boxes, "classes": classes}
    )
    labels = np.array(y_true["classification"])[0]
    places = [(int(s[2] - s[0]), int(s[0] + s[2]) // 2, int(s[1] + s[3]) // 2) for s in squares]
    found = {place: int(x) for place, x in zip(places, labels, strict=True) if x >= 0}
    ignored = {place for place, x in zip(places, labels, strict=True) if x == -2}
    return found, ignored, np.array(y_true["box"])[0]


# 40 x 40 px around (28, 28): effective 24 to 32, a cell of the fine level; ignored 18 to 38.
OBJECT = ([8, 8, 48, 48], 0)
FINE = {(8, 28, 28)}
COARSE = {(16, 24, 24)}


@pytest.mark.parametrize(("level", "expected"), [(0, FINE), (1, COARSE)])
def test_the_level_that_knows_the_object_learns_it(level, expected):
    found, _, box = targets([OBJECT], sure_of=level)
    assert found == dict.fromkeys(expected, 0)
    ((stride, x, y),) = expected
    row = np.flatnonzero(np.any(box != 0, axis=1))
    assert len(row) == 1 and LEVEL[row[0]] == level
    expected = np.array([x - 8, y - 8, 48 - x, 48 - y]) / stride
    np.testing.assert_allclose(box[row[0]], expected)


def test_what_surrounds_the_effective_region_is_ignored_at_neighbouring_levels():
    """18 to 38 px: 4 x 4 cells of the fine level, 16 to 40, and 2 x 2 of the coarse one."""
    fine = {(8, x, y) for x in (20, 28, 36) for y in (20, 28, 36)}
    coarse = {(16, x, y) for x in (24, 40) for y in (24, 40)}
    for level, own in ((0, FINE), (1, COARSE)):
        _, ignored, _ = targets([OBJECT], sure_of=level)
        assert ignored == (fine | coarse) - own


def test_levels_farther_off_are_background():
    """Of three levels with the finest chosen, the coarsest ignores nothing."""
    squares = strided_squares((64, 64), (8, 16, 32))
    logits = np.full((1, len(squares), 3), -9, "float32")
    logits[:, :64, 0] = 5.0
    row = Row(STAGE, squares, np.ones((1, len(squares), 4), "float32"), logits)
    truth = {"boxes": np.array([[OBJECT[0]]], "float32"), "classes": np.zeros((1, 1), "float32")}
    labels = np.array(STAGE.encode_targets(row, truth)["classification"])[0]
    assert (labels[80:] == -1).all() and (labels[64:80] == -2).any()


def test_a_better_box_decides_where_scores_are_equal():
    """Squares of 16 and of 32 px for an object of 28 px: IoU 256 / 784 and 676 / 1132."""
    found, *_ = targets([([14, 14, 42, 42], 1)])
    assert {stride for stride, *_ in found} == {16}
    found, *_ = targets([([18, 18, 38, 38], 1)])
    assert {stride for stride, *_ in found} == {8}


def test_the_smallest_of_several_objects_is_learned():
    large, small = ([0, 0, 56, 56], 1), ([22, 22, 34, 34], 2)
    for objects in ((large, small), (small, large)):
        assert targets(objects)[0][8, 28, 28] == 2


def test_an_object_without_a_location_of_its_own_is_not_learned():
    """Of 4 px, between the locations of both levels: it overlaps cells, and not their middle."""
    found, ignored, _ = targets([([30, 30, 34, 34], 1)])
    assert found == {} and ignored == set()


@pytest.mark.parametrize(
    "objects", [[([-1] * 4, -1)], [([9, 9, 9, 30], 2)], [([-1] * 4, -1), ([5, 5, 5, 5], 0)]]
)
def test_without_objects_all_is_background(objects):
    found, ignored, box = targets(objects)
    assert found == {} and ignored == set() and (box == 0).all()


def test_no_room_for_objects():
    row = Row(STAGE, SQUARES, np.ones((2, 80, 4), "float32"), np.zeros((2, 80, 3), "float32"))
    nothing = {"boxes": np.zeros((2, 0, 4), "float32"), "classes": np.zeros((2, 0), "float32")}
    assert (np.array(STAGE.encode_targets(row, nothing)["classification"]) == -1).all()


def test_predictions_are_needed():
    with pytest.raises(ValueError, match="Which level learns an object depends on the predictions"):
        targets_of_nothing = {"boxes": np.zeros((1, 0, 4)), "classes": np.zeros((1, 0))}
        STAGE.encode_targets(Row(STAGE, SQUARES, None, None), targets_of_nothing)


@pytest.mark.parametrize("num_classes", [2, 5, 2])
def test_detectors_of_other_classes_in_one_process(num_classes):
    stage = dataclasses.replace(STAGE, num_classes=num_classes)
    logits = np.zeros((1, len(SQUARES), num_classes), "float32")
    row = Row(stage, SQUARES, np.ones((1, len(SQUARES), 4), "float32"), logits)
    truth = {"boxes": np.array([[OBJECT[0]]], "float32"), "classes": np.array([[1.0]])}
    labels = np.array(stage.encode_targets(row, truth)["classification"])
    assert set(labels[labels >= 0]) == {1}


def test_the_focal_loss_is_that_of_the_objective():
    from harmonic_tf.losses import DetectionLoss

    logits = np.random.default_rng(0).normal(0, 3, (1, 7, 4)).astype("float32")
    received = np.array(focal_loss(logits, np.array([[2.0, 0.0]]), 4))
    for column, label in enumerate((2, 0)):
        y_true = {"box": np.zeros((1, 7, 4)), "classification": np.full((1, 7), label)}
        terms = DetectionLoss("focal", reduction=None)(
            y_true, {"box": np.zeros((1, 7, 4)), "classification": logits}
        )
        np.testing.assert_allclose(received[..., column], 7 * np.array(terms), rtol=1e-5)


def test_the_loss_of_boxes_by_hand():
    """Half of it covered: ln 2; disjoint or no object: -ln 1e-6."""
    found = np.array([[[0, 0, 10, 10]]], "float32")
    objects = np.array([[[0, 0, 10, 20], [50, 50, 60, 60], [3, 3, 3, 9]]], "float32")
    received = np.array(log_iou_loss(found, objects))[0, 0]
    np.testing.assert_allclose(received, [np.log(2), *[6 * np.log(10)] * 2], rtol=1e-4)


def test_regions_by_hand():
    region = scaled(np.array([[[10.0, 20, 30, 60]]], "float32"), 0.5)
    np.testing.assert_allclose(region, [[[15, 30, 25, 50]]])
    squares = np.array([[0, 30, 15, 40], [0, 30, 16, 40], [18, 32, 20, 34]], "float32")
    assert np.array(overlaps(squares, region))[0, :, 0].tolist() == [False, True, True]


def test_no_gradient_flows_through_the_choice():
    import tensorflow as tf

    box = tf.Variable(np.ones((1, 80, 4), "float32"))
    logits = tf.Variable(np.zeros((1, 80, 3), "float32"))
    truth = {"boxes": np.array([[OBJECT[0]]], "float32"), "classes": np.zeros((1, 1), "float32")}
    with tf.GradientTape() as tape:
        y_true = STAGE.encode_targets(Row(STAGE, SQUARES, box, logits), truth)
        value = keras.ops.sum(y_true["box"]) + keras.ops.sum(y_true["classification"])
    assert tape.gradient(value, [box, logits]) == [None, None]
