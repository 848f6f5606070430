import math

import numpy as np
import pytest

from harmonic_tf.models.anchors import grid_anchors, ratio_anchor_shapes, ssd_anchor_shapes


def test_centres_divide_the_image_evenly_in_row_major_order():
    anchors = grid_anchors((20, 30), [(2, 3)], [[(4, 2), (2, 2)]])
    assert anchors.dtype == np.float32
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    expected = [(x, y) for y in (5, 15) for x in (5, 15, 25) for _ in range(2)]
    np.testing.assert_allclose(centres, expected)
    np.testing.assert_allclose(anchors[0], [3, 4, 7, 6])
    np.testing.assert_allclose(anchors[1], [4, 4, 6, 6])


def test_levels_follow_one_another():
    anchors = grid_anchors((8, 8), [(2, 2), (1, 1)], [[(1, 1)], [(8, 8), (4, 4)]])
    assert anchors.shape == (6, 4)
    np.testing.assert_allclose(anchors[4], [0, 0, 8, 8])
    np.testing.assert_allclose(anchors[5], [2, 2, 6, 6])


def test_levels_and_shapes_must_correspond():
    with pytest.raises(ValueError):
        grid_anchors((8, 8), [(2, 2), (1, 1)], [[(1, 1)]])


def test_ssd_shapes_of_the_published_first_levels():
    """SSD300, conv4_3: 30 and sqrt(30 * 60), and 30 with the ratios 2 and 1/2."""
    first, second = ssd_anchor_shapes((30, 60, 111), ((2,), (2, 3)))
    root = math.sqrt(2)
    np.testing.assert_allclose(
        first,
        [(30, 30), (math.sqrt(1800),) * 2, (30 * root, 30 / root), (30 / root, 30 * root)],
    )
    assert len(second) == 6
    np.testing.assert_allclose(second[4], (60 * math.sqrt(3), 60 / math.sqrt(3)))


def test_shapes_of_one_area():
    ((wide, square),) = ratio_anchor_shapes((6,), (4, 1))
    assert wide == (12, 3) and square == (6, 6)
