"""Hard-negative mining: in each image the hardest negatives, so many a positive."""

import numpy as np
import pytest

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.losses.mining import hard_negatives

pytestmark = pytest.mark.usefixtures("without_compiling")


def chosen(loss, classes, ratio, minimum=0):
    classes = np.array(classes, "float32")
    positive = (classes >= 0).astype("float32")
    return np.asarray(hard_negatives(np.array(loss, "float32"), classes, positive, ratio, minimum))


def test_hardest_negatives_of_each_image():
    loss = [[9, 1, 3, 2, 5, 4], [7, 8, 1, 6, 5, 9]]
    classes = [[0, -1, -1, -1, -1, -2], [-1, 2, -1, -1, 1, -1]]
    expected = [[1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(chosen(loss, classes, 2.0), np.equal(expected, 1))


def test_image_without_positives_brings_none():
    assert not chosen([[3, 2, 1]], [[-1, -1, -2]], 3.0).any()


def test_every_image_brings_a_minimum():
    classes = [[-1, -1, -1, -2, -1], [0, -1, -1, -1, -1], [0, 0, -1, -1, -1], [-1, -2, -2, -2, -2]]
    marked = chosen([[5, 9, 1, 9, 7]] * 4, classes, 1.0, 2)
    expected = [[0, 1, 0, 0, 1], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1], [1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(marked, np.equal(expected, 1))


def test_ties_bring_no_more_than_allowed():
    classes = [[0] + [-1] * 9]
    assert chosen(np.ones((1, 10)), classes, 3.0).sum() == 1 + 3
    assert chosen(np.zeros((1, 10)), classes, 3.0)[0, 0]


def test_ignored_rows_never_enter():
    assert chosen([[1, 9, 2]], [[0, -2, -1]], 3.0).tolist() == [[True, False, True]]


def test_ratio_may_be_a_fraction():
    assert chosen([[9, 9, 1, 2, 3]], [[0, 1, -1, -1, -1]], 0.5).tolist() == [
        [True, True, False, False, True]
    ]


def batch():
    """Two images; the class logits of the negatives are 0, 1, 2 and 3, hardest last."""
    logits = np.zeros((2, 5, 3), "float32")
    logits[:, 1:, 0] = np.arange(4)
    y_true = {"box": np.zeros((2, 5, 4)), "classification": [[0, -1, -1, -1, -1], [-1] * 5]}
    y_true["classification"] = np.array(y_true["classification"])
    return y_true, {"box": np.zeros((2, 5, 4), "float32"), "classification": logits}


def test_loss_sums_the_chosen_rows():
    """Cross entropy against the background of logits (x, 0, 0): log(e^x + 2)."""
    easy, hard = np.log(np.exp(2.0) + 2), np.log(np.exp(3.0) + 2)
    loss = DetectionLoss(negative_ratio=2.0)(*batch())
    np.testing.assert_allclose(loss, np.log(3) + easy + hard, rtol=1e-6)
    one = DetectionLoss(negative_ratio=1.0)(*batch())
    np.testing.assert_allclose(one, np.log(3) + hard, rtol=1e-6)


def test_image_without_objects_teaches_its_hardest_negatives():
    """The second image has none: with a minimum of one its hardest row enters, over N = 1."""
    hard = np.log(np.exp(3.0) + 2)
    loss = DetectionLoss(negative_ratio=1.0, min_negatives=1)(*batch())
    np.testing.assert_allclose(loss, np.log(3) + 2 * hard, rtol=1e-6)
    empty = (
        {key: value[1:] for key, value in batch()[0].items()},
        {key: value[1:] for key, value in batch()[1].items()},
    )
    assert float(DetectionLoss(negative_ratio=3.0)(*empty)) == 0
    alone = DetectionLoss(negative_ratio=3.0, min_negatives=1)(*empty)
    np.testing.assert_allclose(alone, hard, rtol=1e-6)


def test_parts_of_rows_left_out_are_zero():
    _, parts = HarmonicDetLoss(negative_ratio=2.0).with_parts(*batch())
    kept = [[True, False, False, True, True], [False] * 5]
    np.testing.assert_array_equal(np.asarray(parts.total) > 0, kept)
    np.testing.assert_array_equal(np.asarray(parts.classification) > 0, kept)


@pytest.mark.parametrize("ratio", [0, -1.0, float("nan")])
def test_ratio_must_be_positive(ratio):
    with pytest.raises(ValueError, match="negative_ratio"):
        DetectionLoss(negative_ratio=ratio)
