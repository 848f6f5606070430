"""Which location learns which object, by hand, on two levels with strides of 8 and 16."""

import numpy as np
import pytest

from harmonic_tf.coders import Distances
from harmonic_tf.models.anchors import strided_squares
from harmonic_tf.models.center_sampling import CenterSampling
from harmonic_tf.models.stages import Dense, Row

SQUARES = strided_squares((64, 64), (8, 16))  # 8 x 8 and 4 x 4 locations
NOTHING = ([-1, -1, -1, -1], -1)


def targets(*objects, squares=SQUARES, **settings):
    """Positives as {(stride, x, y): class}, and the whole of the targets."""
    objects = objects or (NOTHING,)
    boxes, classes = (np.array([x], "float32") for x in zip(*objects, strict=True))
    sampling = CenterSampling(**{"radius": 1.5, "reach": 4.0, **settings})
    stage = Dense(name="boxes", num_classes=9, anchors=None, targets=sampling, coder=Distances())
    y_true = stage.encode_targets(
        Row(stage, squares, None, None), {"boxes": boxes, "classes": classes}
    )
    labels, box = np.array(y_true["classification"])[0], np.array(y_true["box"])[0]
    found = {}
    for square, label in zip(squares, labels, strict=True):
        if label >= 0:
            x, y = (square[:2] + square[2:]) / 2
            found[int(square[2] - square[0]), int(x), int(y)] = int(label)
    return found, labels, box


def test_locations_near_the_centre_learn_the_distances():
    """24 x 16 px around (32, 32): those within 12 px of it along x and 8 along y, all inside."""
    found, labels, box = targets(([20, 24, 44, 40], 5))
    assert found == {(8, x, y): 5 for x in (28, 36) for y in (28, 36)}
    assert (labels[labels < 0] == -1).all()
    row = 3 * 8 + 3  # at (28, 28)
    np.testing.assert_allclose(box[row], [1, 0.5, 2, 1.5])
    assert (box[labels < 0] == 0).all()


def test_the_radius_is_in_strides():
    """All of the image is an object: 4 of the 16 locations of the coarse level are that near."""
    found, *_ = targets(([0, 0, 64, 64], 0), radius=1.0)
    assert found == {(16, x, y): 0 for x in (24, 40) for y in (24, 40)}
    assert len(targets(([0, 0, 64, 64], 0), radius=9.0)[0]) == 16


FINE, COARSE = {(8, 28), (8, 36)}, {(16, 24), (16, 40)}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [(3, 61, COARSE), (4, 60, FINE | COARSE), (8, 56, FINE | COARSE), (9, 55, FINE)],
)
def test_a_level_has_its_range(left, right, expected):
    """Farthest edges up to 32 px at the finest level, from 32 px on at the coarsest."""
    found, *_ = targets(([left, 16, right, 32], 1))
    assert {(stride, x) for stride, x, _ in found} == expected


def test_the_finest_level_begins_at_0_and_the_coarsest_has_no_end():
    tiny = ([27, 27, 29, 29], 3)
    assert targets(tiny)[0] == {(8, 28, 28): 3}
    huge = ([-500, -500, 564, 564], 3)
    assert {stride for stride, *_ in targets(huge)[0]} == {16}


def test_the_smallest_of_several_objects_is_learned():
    large, small = ([8, 8, 56, 56], 1), ([26, 26, 38, 38], 2)
    for objects in ((large, small), (small, large)):
        found, *_ = targets(*objects)
        assert {key for key, label in found.items() if label == 2} == {
            (8, x, y) for x in (28, 36) for y in (28, 36)
        }
        assert set(found.values()) == {1, 2}


def test_an_object_between_the_locations_is_not_learned():
    assert targets(([29, 29, 35, 35], 1))[0] == {}


@pytest.mark.parametrize("objects", [(), (NOTHING, NOTHING), (([9, 9, 9, 30], 2),)])
def test_without_objects_all_is_background(objects):
    found, labels, box = targets(*objects)
    assert found == {} and (labels == -1).all() and (box == 0).all()


def test_no_room_for_objects():
    stage = Dense(
        name="boxes", num_classes=1, anchors=None, targets=CenterSampling(), coder=Distances()
    )
    nothing = {"boxes": np.zeros((2, 0, 4), "float32"), "classes": np.zeros((2, 0), "float32")}
    y_true = stage.encode_targets(Row(stage, SQUARES, None, None), nothing)
    assert (np.array(y_true["classification"]) == -1).all()
    assert y_true["box"].shape == (2, 80, 4)


def test_one_level_has_all_sizes():
    squares = strided_squares((64, 64), (16,))
    for box in ([22, 22, 26, 26], [0, 0, 64, 64]):
        assert targets((box, 0), squares=squares)[0]
