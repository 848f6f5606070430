"""Proposals, by hand."""

import numpy as np

from harmonic_tf.models.rpn import propose

VARIANCE = (1.0, 1.0, 1.0, 1.0)
ANCHORS = np.array(
    [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 11, 10], [60, 60, 90, 90]], "float32"
)


def proposals(scores, deltas=None, before=10, after=4):
    scores = np.array(scores, "float32")[None]
    deltas = np.zeros((1, 5, 4), "float32") if deltas is None else np.array(deltas, "float32")[None]
    predictions = {
        "rpn_box": deltas,
        "rpn_classification": np.log(np.stack([scores, 1 - scores], axis=-1)),
    }
    # Three anchors on the first level, two on the second; a picture of 80 x 80 px.
    return np.array(propose(predictions, ANCHORS, [3, 2], (80, 80), VARIANCE, before, after))[0]


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
