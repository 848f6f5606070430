import numpy as np
import pytest
from keras import ops

from harmonic_tf.boxes import decode
from harmonic_tf.models.matching import encode_targets, match

# Five anchors of 10 x 10; IoU with the box (0, 0, 10, 10): 1, 2/3 (shift 2), 1/3 (shift 5), 0, 0.
ANCHORS = np.array(
    [[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [20, 0, 30, 10], [40, 0, 50, 10]], "float32"
)
UNIT = (1.0, 1.0, 1.0, 1.0)


def labels(gt_boxes, positive=0.5, negative=0.4, force=False):
    index, label = match(
        ops.convert_to_tensor(ANCHORS),
        ops.convert_to_tensor(np.array([gt_boxes], "float32")),
        positive,
        negative,
        force,
    )
    return np.array(index)[0], np.array(label)[0]


def test_thresholds_separate_positive_ignored_and_background():
    _, label = labels([[0, 0, 10, 10]], positive=0.7, negative=0.5)
    assert label.tolist() == [0, -2, -1, -1, -1]


def test_thresholds_are_inclusive_above():
    _, label = labels([[0, 0, 10, 5]], positive=0.5, negative=0.5)  # IoU with anchor 0: 1/2
    assert label[0] in (0, -1)
    _, label = labels([[0, 0, 10, 5.01]], positive=0.5, negative=0.5)
    assert label[0] == 0


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


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 3, 3], [-1, -1, -1, -1]])
def test_a_box_without_area_gets_no_anchor(box, force):
    assert labels([box], force=force)[1].tolist() == [-1] * 5


def test_an_object_far_from_all_anchors_gets_none_by_force():
    assert labels([[100, 100, 110, 110]], force=True)[1].tolist() == [-1] * 5


def encode(boxes, classes, **settings):
    settings = {"positive_threshold": 0.5, "negative_threshold": 0.4, "force": True, **settings}
    targets = encode_targets(
        ANCHORS, np.array(boxes, "float32"), np.array(classes, "float32"), UNIT, **settings
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
    settings = {"positive_threshold": 0.5, "negative_threshold": 0.4, "force": True}
    targets = encode_targets(anchors, boxes, np.zeros((2, 1), "float32"), UNIT, **settings)
    shared = encode_targets(ANCHORS, boxes, np.zeros((2, 1), "float32"), UNIT, **settings)
    for key in targets:
        received, expected = np.array(targets[key]), np.array(shared[key])
        np.testing.assert_array_equal(received[0], expected[0])
        np.testing.assert_array_equal(received[1], expected[1][::-1])
    assert (np.array(targets["classification"])[0] == 0).sum() == 2
