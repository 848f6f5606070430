"""Stages by hand: proposals, gates, what is a detection, and what a head makes of regions."""

import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.coders import CenterSize
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.sampling import Sampler
from harmonic_tf.models.stages import Dense, Region, Row, look, read, returned

UNIT = CenterSize((1.0, 1.0, 1.0, 1.0))
ANCHORS = np.array(
    [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 11, 10], [60, 60, 90, 90]], "float32"
)
SIZE = (80, 80)


def rpn(before=10, after=4, **settings):
    """Three anchors on the first level, two on the second."""
    return Dense(
        name="rpn",
        key_prefix="rpn_",
        num_classes=1,
        anchors=lambda image_size: ANCHORS,
        level_sizes=(3, 2),
        proposals=(before, after),
        targets=Matching(positive=0.5, negative=0.5),
        coder=UNIT,
        detects=False,
        **settings,
    )


def head(deltas=(0, 0, 0, 0), logits=(2, 1, 0)):
    """A stage of 2 classes that says the same of every region."""

    def say(features, training):
        ones = np.ones((len(features), 1), "float32")
        return {
            "box": tf.constant(ones * np.float32(deltas)),
            "classification": tf.constant(ones * np.float32(logits)),
        }

    return Region(
        name="head",
        num_classes=2,
        after="rpn",
        head=say,
        pool=lambda outputs, regions: np.zeros((regions.shape[0] * regions.shape[1], 1)),
        targets=Matching(positive=0.5, negative=0.5),
        coder=UNIT,
        sampler=Sampler(3, 0.34),
    )


def outputs(scores, deltas=None):
    scores = np.array(scores, "float32")[None]
    deltas = np.zeros((1, 5, 4), "float32") if deltas is None else np.array(deltas, "float32")[None]
    return {
        "rpn_box": tf.constant(deltas),
        "rpn_classification": tf.constant(np.log(np.stack([scores, 1 - scores], axis=-1))),
    }


def truth(boxes, classes):
    return {"boxes": np.array([boxes], "float32"), "classes": np.array([classes], "float32")}


def proposals(scores, deltas=None, before=10, after=4):
    stage = rpn(before, after)
    row = look([stage], outputs(scores, deltas), SIZE)["rpn"]
    return np.array(stage.regions(row, SIZE))[0]


def test_best_first_clipped_and_padded():
    """Of the first two, 9/11 alike, one goes; the fourth is of another level and stays."""
    expected = [[0, 0, 11, 10], [1, 0, 11, 10], [60, 60, 80, 80], [20, 0, 30, 10]]
    np.testing.assert_allclose(proposals([0.6, 0.8, 0.1, 0.9, 0.5]), expected, atol=1e-4)
    received = proposals([0.6, 0.8, 0.1, 0.9, 0.5], after=6)
    np.testing.assert_allclose(received, [*expected, [-1] * 4, [-1] * 4], atol=1e-4)


def test_only_the_best_of_a_level_enter():
    received = proposals([0.6, 0.1, 0.8, 0.2, 0.5], before=1)
    expected = [[20, 0, 30, 10], [60, 60, 80, 80], [-1] * 4, [-1] * 4]
    np.testing.assert_allclose(received, expected, atol=1e-4)


def test_deltas_move_the_anchors():
    """Centre half a height down, twice as wide."""
    deltas = np.zeros((5, 4))
    deltas[2] = [0.5, 0, 0, np.log(2)]
    received = proposals([0.1, 0.1, 0.9, 0.1, 0.1], deltas, after=1)
    np.testing.assert_allclose(received, [[15, 5, 35, 15]], atol=1e-4)


def test_what_lies_outside_the_image_is_no_proposal():
    """The best two leave the image to the left, one of them inverted by the cut."""
    deltas = np.zeros((5, 4))
    deltas[[0, 3], 1] = -2
    received = proposals([0.9, 0.1, 0.2, 0.8, 0.3], deltas)
    expected = [[60, 60, 80, 80], [20, 0, 30, 10], [1, 0, 11, 10], [-1] * 4]
    np.testing.assert_allclose(received, expected, atol=1e-4)


def test_a_prediction_that_is_not_finite_is_no_proposal():
    deltas = np.zeros((5, 4))
    deltas[0] = np.nan
    received = proposals([0.9, 0.1, 0.2, 0.8, np.nan], deltas)
    assert np.isfinite(received).all()
    np.testing.assert_allclose(received[0], [0, 0, 11, 10], atol=1e-4)


def test_a_gate_closes_what_is_background_before():
    """Probabilities of background 0.98 and 0.995; a positive stays open to be learned."""
    arm = rpn()
    odm = Dense(
        name="odm",
        num_classes=2,
        after="rpn",
        gate=0.99,
        anchors=arm.anchors,
        targets=Matching(positive=0.5, negative=0.5),
        coder=UNIT,
    )
    predictions = outputs([0.02, 0.5, 0.005, 0.5, 0.005])
    predictions["box"] = np.zeros((1, 5, 4), "float32")
    predictions["classification"] = np.zeros((1, 5, 3), "float32")
    row = read([arm, odm], predictions, SIZE)["odm"]
    assert np.array(row.open).tolist() == [[True, True, False, True, False]]
    _, scores = row.detections(SIZE)
    assert np.array(scores[0, :, 0] > 0).tolist() == [True, True, False, True, False]
    y_true = odm.encode_targets(row, truth([[60, 60, 90, 90]], [1]))
    assert np.array(y_true["classification"]).tolist() == [[-1, -1, -2, -1, 1]]


def test_in_training_a_head_looks_at_a_sample_with_the_ground_truth():
    """One positive at most of three: an object far from all proposals is there, of its class."""
    stages = [rpn(), head()]
    y = truth([[40, 40, 50, 60], [-1] * 4], [1, -1])
    row = look(stages, outputs([0.5] * 5), SIZE, y)["head"]
    assert row.reference_boxes.shape == (1, 3, 4)
    np.testing.assert_allclose(row.reference_boxes[0, 0], [40, 40, 50, 60])
    lesson = stages[1].lesson(row, {}, y, None)
    assert np.array(lesson.y_true["classification"]).tolist() == [[1, -1, -1]]
    assert lesson.count is None


def test_what_a_model_returns_is_read_again():
    stages = [rpn(), head(deltas=[0.5, 0, 0, 0])]
    raw = outputs([0.6, 0.8, 0.1, 0.9, 0.5])
    rows = look(stages, raw, SIZE)
    assert set(returned(rows)) == {"reference_boxes", "box", "classification"}
    again = read(stages, {**raw, **returned(rows)}, SIZE)
    for received, expected in zip(again["head"][1:4], rows["head"][1:4], strict=True):
        np.testing.assert_array_equal(received, expected)
    found, scores = again["head"].detections(SIZE)
    np.testing.assert_allclose(found[0, 0], [0, 5, 11, 15], atol=1e-4)
    assert scores.shape == (1, 4, 2)


def test_regions_that_are_not_there_are_neither_learned_nor_found():
    stage = head()
    regions = tf.constant([[[0.0, 0, 10, 10], [-1, -1, -1, -1], [20, 20, 20, 30]]])
    row = Row(stage, regions, tf.zeros((1, 3, 4)), tf.zeros((1, 3, 3)))
    assert (np.array(row.detections(SIZE)[1])[0, 1:] == 0).all()
    labels = stage.encode_targets(row, truth([[0, 0, 10, 10]], [1]))["classification"]
    assert np.array(labels).tolist() == [[1, -2, -2]]
    np.testing.assert_allclose(stage.regions(row, SIZE)[0, 1], [-1] * 4)


def test_each_row_is_judged_by_the_box_of_its_class():
    box = np.arange(2 * 3 * 4, dtype="float32").reshape(1, 2, 3, 4)
    row = Row(head(), None, box, np.zeros((1, 2, 4), "float32"))
    received = row.loss_inputs({"classification": np.array([[2.0, -1.0]])})
    np.testing.assert_array_equal(received["box"], [[box[0, 0, 2], box[0, 1, 0]]])


@pytest.mark.parametrize("logits", [[0, 0, 0], [9, 0, 0]])
def test_scores_are_averaged_in_detection_alone(logits):
    from dataclasses import replace

    first = replace(head(logits=[np.log(2), 0, 0]), name="first", detects=False)
    second = replace(head(logits=logits), after="first", sampler=None, averaged=("first",))
    stages, raw = [rpn(), first, second], outputs([0.5] * 5)
    mean = (np.array([0.5, 0.25, 0.25]) + np.exp(logits) / np.exp(logits).sum()) / 2
    scores = look(stages, raw, SIZE)["head"].scores()
    np.testing.assert_allclose(scores[0, 0], mean[:2], rtol=1e-5)
    row = look(stages, raw, SIZE, truth([[0, 0, 10, 10]], [0]))["head"]
    np.testing.assert_allclose(row.classification[0, 0], logits)
