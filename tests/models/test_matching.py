import keras
import numpy as np
import pytest
from keras import ops

from harmonic_tf.boxes import decode
from harmonic_tf.coders import CenterSize
from harmonic_tf.models.matching import Matching, encode_targets, match

# Five anchors of 10 x 10; IoU with the box (0, 0, 10, 10): 1, 2/3 (shift 2), 1/3 (shift 5), 0, 0.
ANCHORS = np.array(
    [[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [20, 0, 30, 10], [40, 0, 50, 10]], "float32"
)
UNIT = (1.0, 1.0, 1.0, 1.0)


def labels(gt_boxes, positive=0.5, negative=0.4, force=False):
    index, label = match(
        ops.convert_to_tensor(ANCHORS),
        ops.convert_to_tensor(np.array([gt_boxes], "float32")),
        Matching(positive, negative, force),
    )
    return np.array(index)[0], np.array(label)[0]


def test_thresholds_separate_positive_ignored_and_background():
    _, label = labels([[0, 0, 10, 10]], positive=0.7, negative=0.5)
    assert label.tolist() == [0, -2, -1, -1, -1]


def test_thresholds_are_inclusive_above():
    """A box with an IoU of 1/2 with the first anchor, of 5/12 with the second."""
    box = [0, 0, 10, 5]
    assert labels([box], positive=0.5, negative=0.5)[1][0] == 0
    assert labels([box], positive=0.5001, negative=0.5)[1][0] == -2
    assert labels([box], positive=0.5001, negative=0.5001)[1][0] == -1


def test_each_anchor_takes_the_object_it_overlaps_most():
    index, label = labels([[0, 0, 10, 10], [4, 0, 14, 10]])
    assert label.tolist() == [0, 0, 0, -1, -1]
    assert index[0] == 0 and index[2] == 1


def test_force_gives_each_object_its_best_anchor():
    """A box of IoU 1/4 with anchor 3 has no anchor by the threshold, but gets one by force."""
    small = [20, 0, 25, 5]
    assert labels([small])[1].tolist() == [-1] * 5
    index, label = labels([[0, 0, 10, 10], small], force=True)
    assert label.tolist() == [0, 0, -1, 0, -1]
    assert index[3] == 1


def test_force_outranks_a_better_overlap():
    """Anchor 1 overlaps the first object more, but it is the second's only chance."""
    index, label = labels([[0, 0, 10, 10], [9, 0, 12, 10]], force=True)
    assert label[1] == 0 and index[0] == 0
    best_of_second = int(np.argmax([0.1 / 1.2, 0.3, 0.3, 0, 0]))
    assert index[best_of_second] == 1


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_objects_with_one_best_anchor_each_has_one(order):
    """Anchor 0 is the best of both: the tall one overlaps it more, the other gets anchor 1."""
    both = np.array([[0, 0, 10, 9], [0, 0, 10, 4]])
    index, label = labels(both[order], positive=0.95, negative=0.1, force=True)
    assert label[:2].tolist() == [0, 0]
    assert [order[i] for i in index[:2]] == [0, 1]


def test_own_anchors_are_those_of_the_greatest_overlaps():
    """Against a loop that hands out the pair of the greatest IoU left, crowds included."""
    rng = np.random.default_rng(0)
    for trial in range(20):
        low = rng.uniform(0, 50, (7 + 8 * (trial % 2), 2))
        objects = np.concatenate([low, low + rng.uniform(4, 30, low.shape)], axis=1)
        iou = np.array(keras.utils.bounding_boxes.compute_iou(ANCHORS, objects, "xyxy"))
        expected, left = {}, iou.copy()
        while left.max() > 0:
            anchor, number = np.unravel_index(left.argmax(), left.shape)
            expected[int(anchor)] = int(number)
            left[anchor], left[:, number] = -1, -1
        index, label = labels(objects, positive=1.1, negative=0.0, force=True)
        claimed = {int(a): int(index[a]) for a in np.flatnonzero(label == 0)}
        assert claimed == expected


def test_equal_objects_have_an_anchor_each():
    index, label = labels([[0, 0, 10, 10]] * 3, positive=1.1, negative=0.0, force=True)
    assert label.tolist() == [0, 0, 0, -2, -2]
    assert sorted(index[:3].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 3, 3], [-1, -1, -1, -1]])
def test_a_box_without_area_gets_no_anchor(box, force):
    assert labels([box], force=force)[1].tolist() == [-1] * 5


def test_an_object_far_from_all_anchors_gets_none_by_force():
    assert labels([[100, 100, 110, 110]], force=True)[1].tolist() == [-1] * 5


def encode(boxes, classes):
    targets = encode_targets(
        ANCHORS,
        np.array(boxes, "float32"),
        np.array(classes, "float32"),
        CenterSize(UNIT),
        Matching(positive=0.5, negative=0.4, force=True),
    )
    return {key: np.array(value) for key, value in targets.items()}


def test_targets_of_a_batch():
    targets = encode(
        [[[0, 0, 10, 10], [-1] * 4], [[-1] * 4, [-1] * 4], [[40, 0, 50, 10], [20, 0, 30, 10]]],
        [[2, -1], [-1, -1], [1, 0]],
    )
    np.testing.assert_array_equal(
        targets["classification"],
        [[2, 2, -1, -1, -1], [-1, -1, -1, -1, -1], [-1, -1, -1, 0, 1]],
    )
    np.testing.assert_allclose(targets["box"][0, 1], [0, -0.2, 0, 0], atol=1e-7)
    assert not targets["box"][1].any()


def test_targets_decode_to_the_objects():
    box = np.array([[[1, -2, 9, 11]]], "float32")
    targets = encode(box, [[0]])
    decoded = decode(ops.convert_to_tensor(targets["box"]), ops.convert_to_tensor(ANCHORS), UNIT)
    positive = targets["classification"][0] == 0
    assert positive.any()
    np.testing.assert_allclose(
        np.array(decoded)[0][positive], np.repeat(box[0], positive.sum(), 0), atol=1e-4
    )


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40])
def test_any_amount_of_padding_gives_the_same_targets(count):
    boxes = np.full((1, count + 1, 4), -1.0)
    classes = np.full((1, count + 1), -1.0)
    boxes[0, count // 2], classes[0, count // 2] = [0, 0, 10, 10], 3
    assert encode(boxes, classes)["classification"][0].tolist() == [3, 3, -1, -1, -1]


def test_a_batch_without_room_for_objects():
    targets = encode(np.zeros((2, 0, 4)), np.zeros((2, 0)))
    assert (targets["classification"] == -1).all()
    assert not targets["box"].any()


def test_a_box_under_padding_is_not_an_object():
    targets = encode([[[0, 0, 10, 10]]], [[-1]])
    assert (targets["classification"] == -1).all()


def test_images_with_anchors_of_their_own():
    """The second image has the first one's anchors in reverse."""
    boxes = np.array([[[0, 0, 10, 10]]] * 2, "float32")
    anchors = np.stack([ANCHORS, ANCHORS[::-1]])
    settings = (CenterSize(UNIT), Matching(positive=0.5, negative=0.4, force=True))
    targets = encode_targets(anchors, boxes, np.zeros((2, 1), "float32"), *settings)
    shared = encode_targets(ANCHORS, boxes, np.zeros((2, 1), "float32"), *settings)
    for key in targets:
        received, expected = np.array(targets[key]), np.array(shared[key])
        np.testing.assert_array_equal(received[0], expected[0])
        np.testing.assert_array_equal(received[1], expected[1][::-1])
    assert (np.array(targets["classification"])[0] == 0).sum() == 2
