"""Masks in the frames of other boxes: `harmonic_tf.masks`."""

import numpy as np
import pytest
from keras import ops

from harmonic_tf.masks import bilinear_weights, resample

BOX = [10.0, 20.0, 18.0, 28.0]
MASK = np.random.default_rng(0).random((4, 4)).astype("float32")


def shown(mask, box, frame, size):
    boxes = [ops.convert_to_tensor(np.array(b, "float32")) for b in (box, frame)]
    return ops.convert_to_numpy(resample(ops.convert_to_tensor(mask), *boxes, size))


def test_a_box_in_its_own_frame_is_as_it_was():
    np.testing.assert_allclose(shown(MASK, BOX, BOX, 4), MASK, atol=1e-6)


@pytest.mark.parametrize(
    "frame, expected",
    [
        ([10, 20, 14, 28], MASK[:, :2]),
        ([14, 20, 18, 28], MASK[:, 2:]),
        ([10, 24, 18, 28], MASK[2:]),
        ([12, 22, 16, 26], MASK[1:3, 1:3]),
    ],
)
def test_part_of_a_box_is_part_of_its_mask(frame, expected):
    np.testing.assert_allclose(shown(MASK, BOX, frame, expected.shape), expected, atol=1e-6)


def test_values_hold_for_the_centres_of_cells():
    # Two cells with centres at 2 and 6 of 8 px: 1/4 and 3/4 of the way between them, at 3 and 5.
    mask = np.array([[0.0, 1.0]], "float32")
    between = shown(mask, [0, 0, 8, 8], [2, 2, 6, 6], (1, 2))
    np.testing.assert_allclose(between, [[0.25, 0.75]], atol=1e-6)
    # Half the cells of four: each is in the middle between two.
    halved = shown(MASK, BOX, BOX, 2)
    np.testing.assert_allclose(halved, MASK.reshape(2, 2, 2, 2).mean((1, 3)), atol=1e-6)


def test_a_mask_fades_to_zero_at_the_edge_of_its_box():
    # Of 2 cells to 8 px, at 0.5, 1, 2, 3.5 px inside: 5/8, 3/4, 1, 1; then outside the box.
    ones = np.ones((2, 2), "float32")
    inside = [shown(ones, [0, 0, 8, 8], [x, 4, x, 4], 1).item() for x in (0.5, 1, 2, 3.5)]
    np.testing.assert_allclose(inside, [0.625, 0.75, 1, 1], atol=1e-6)


def test_outside_of_its_box_a_mask_is_zero():
    ones = np.ones((4, 4), "float32")
    np.testing.assert_array_equal(shown(ones, [0, 0, 8, 8], [20, 0, 28, 8], 3), np.zeros((3, 3)))
    # A frame twice as large: the box is its upper left quarter.
    around = shown(ones, [0, 0, 8, 8], [0, 0, 16, 16], 4)
    np.testing.assert_allclose(around, [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4], atol=1e-6)


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [5, 5, 9, 5], [9, 9, 5, 5], [-1, -1, -1, -1]])
def test_a_box_without_area_shows_nothing(box):
    ones = np.ones((3, 3), "float32")
    np.testing.assert_array_equal(shown(ones, box, [0, 0, 10, 10], 5), np.zeros((5, 5)))
    assert np.isfinite(shown(ones, [0, 0, 10, 10], box, 5)).all()


def test_leading_dimensions_are_independent():
    random = np.random.default_rng(1)
    masks = random.random((2, 3, 5, 4)).astype("float32")
    corners = random.uniform(0, 10, (2, 2, 3, 2)).astype("float32")
    boxes, frames = np.concatenate([corners, corners + [[5.0], [7.0]][0]], -1).astype("float32")
    together = shown(masks, boxes, frames, (6, 7))
    assert together.shape == (2, 3, 6, 7)
    for place in np.ndindex(2, 3):
        alone = shown(masks[place], boxes[place], frames[place], (6, 7))
        np.testing.assert_allclose(together[place], alone, atol=1e-6)


def test_scale_of_the_image_does_not_matter():
    frame = [11.0, 18.0, 19.0, 25.0]
    scaled = shown(MASK, np.array(BOX) * 3 + 7, np.array(frame) * 3 + 7, 5)
    np.testing.assert_allclose(scaled, shown(MASK, BOX, frame, 5), atol=1e-5)


def test_weights_of_arrays_and_of_tensors_are_the_same():
    points, edges = np.array([[0.5, 1.0, 9.0], [1.0, 2.0, 3.0]]), np.array([[0.0, 4.0], [3.0, 3.0]])
    weights = bilinear_weights(points, edges, 2)
    assert isinstance(weights, np.ndarray)
    np.testing.assert_allclose(weights[0], [[0.75, 0], [1, 0], [0, 0]])
    assert not weights[1].any()
    tensors = bilinear_weights(ops.convert_to_tensor(points), ops.convert_to_tensor(edges), 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(tensors), weights)
