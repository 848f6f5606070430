"""Box geometry, by hand."""

import numpy as np
import pytest
from keras import ops

from harmonic_tf import boxes

VARIANCE = (0.1, 0.1, 0.2, 0.2)


def array(*rows):
    return np.array(rows, "float32")


def test_edges():
    centre = ops.convert_to_tensor(array([0, 0, 0.5, -1]))
    log_size = ops.convert_to_tensor(array([0, 0, np.log(2), np.log(0.5)]))
    low, high, size = boxes.edges(centre, log_size)
    np.testing.assert_allclose(size, [[1, 1, 2, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(low, [[-0.5, -0.5, 0.5 - 1, -1 - 0.25]], rtol=1e-6)
    np.testing.assert_allclose(high, [[0.5, 0.5, 0.5 + 1, -1 + 0.25]], rtol=1e-6)


def test_sizes_neither_overflow_nor_vanish():
    _, _, size = boxes.edges(0.0, ops.convert_to_tensor(array([1e6, -1e6], [np.inf, -np.inf])))
    np.testing.assert_allclose(size, [[np.exp(16), np.exp(-16)]] * 2, rtol=1e-6)
    assert np.isfinite(np.square(size)).all()


def test_encode_by_hand():
    """Anchor of 20 x 10 px around (20, 15); box twice as wide, half as high, off by 5, -2."""
    anchor, box = array([10, 10, 30, 20]), array([5, 10.5, 45, 15.5])
    deltas = boxes.encode(ops.convert_to_tensor(box), ops.convert_to_tensor(anchor), VARIANCE)
    expected = [-2 / 10 / 0.1, 5 / 20 / 0.1, np.log(0.5) / 0.2, np.log(2) / 0.2]
    np.testing.assert_allclose(deltas, [expected], rtol=1e-5)


def test_decode_undoes_encode():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 100, (2, 50, 2))
    box, anchor = np.concatenate([low, low + rng.uniform(1, 80, (2, 50, 2))], -1).astype("float32")
    box, anchor = ops.convert_to_tensor(box), ops.convert_to_tensor(anchor)
    for variance in (VARIANCE, (1, 1, 1, 1)):
        deltas = boxes.encode(box, anchor, variance)
        np.testing.assert_allclose(boxes.decode(deltas, anchor, variance), box, atol=1e-3)


def test_iou_of_deltas_is_the_iou_of_the_boxes():
    """What the losses rely on: it does not depend on the anchor."""
    first, second = array([5, 10, 45, 30]), array([10, 5, 50, 25])
    expected = float(boxes.iou(ops.convert_to_tensor(first), ops.convert_to_tensor(second))[0])
    assert expected == pytest.approx(35 * 15 / (800 + 800 - 525))
    for anchor in (array([0, 0, 50, 30]), array([20, 20, 21, 90])):
        decoded = []
        for box in (first, second):
            deltas = boxes.encode(
                ops.convert_to_tensor(box), ops.convert_to_tensor(anchor), VARIANCE
            )
            scaled = deltas * ops.convert_to_tensor(array(VARIANCE))
            low, high, _ = boxes.edges(scaled[..., :2], scaled[..., 2:])
            decoded.append(ops.concatenate([low, high], axis=-1))
        assert float(boxes.iou(*decoded)[0]) == pytest.approx(expected, rel=1e-4)


def test_boxes_without_area_encode_to_finite_deltas():
    box, anchor = array([3, 4, 3, 4], [5, 5, 2, 2]), array([0, 0, 10, 10], [0, 0, 0, 0])
    deltas = boxes.encode(ops.convert_to_tensor(box), ops.convert_to_tensor(anchor), VARIANCE)
    assert np.isfinite(deltas).all()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 2, 2], [5, 5, 6, 6], 0),
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
        ([0, 0, 2, 2], [2, 2, 0, 0], 0),
    ],
)
def test_iou(first, second, expected):
    for pair in ((first, second), (second, first)):
        tensors = (ops.convert_to_tensor(array(box)) for box in pair)
        np.testing.assert_allclose(boxes.iou(*tensors), [expected], rtol=1e-6)
