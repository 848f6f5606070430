"""Boxes written relative to reference boxes, by hand and back."""

import numpy as np
import pytest
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.coders import CODERS, Boxes, CenterSize, Corners, Distances


def tensor(*rows):
    return ops.convert_to_tensor(np.array(rows, "float32"))


BOX, REFERENCE = tensor([12, 10, 28, 40]), tensor([10, 10, 20, 30])


@pytest.mark.parametrize(
    ("coder", "expected"),
    [
        # Centres (20, 25) and (15, 20), sizes 16 x 30 and 10 x 20; y before x.
        (CenterSize((0.1, 0.1, 0.2, 0.2)), [2.5, 5, np.log(1.5) / 0.2, np.log(1.6) / 0.2]),
        (Corners((0.2, 0.2, 0.1, 0.1)), [0.2 / 0.2, 0, 0.8 / 0.1, 0.5 / 0.1]),
        (Distances(), [3 / 10, 10 / 20, 13 / 10, 20 / 20]),
        (Boxes("center_xywh"), [20, 25, 16, 30]),
        (Boxes("rel_yxyx"), [10, 12, 40, 28]),
    ],
)
def test_by_hand_and_back(coder, expected):
    coded = coder.encode(BOX, REFERENCE)
    np.testing.assert_allclose(coded, [expected], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(coder.decode(coded, REFERENCE), BOX, rtol=1e-5)


def test_no_box_is_larger_than_the_largest():
    """Twice the reference's sides, where the deltas say e^3 and half."""
    coder = CenterSize((1, 1, 1, 1), largest=np.log(2))
    decoded = coder.decode(tensor([0, 0, 3, -np.log(2)]), REFERENCE)
    np.testing.assert_allclose(decoded, [[12.5, 0, 17.5, 40]], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("coder", [cls() for cls in CODERS.values()])
def test_iou_for_the_loss_is_that_of_the_boxes(coder):
    """What the fused objective sees has the IoU of the boxes, whatever the reference was."""
    other = tensor([14, 8, 30, 35])
    expected = boxes.iou(BOX, other)
    pred, true = coder.for_loss(coder.encode(BOX, REFERENCE), coder.encode(other, REFERENCE))
    unit = tensor([0, 0, 1, 1])
    plain = {"center_size": CenterSize, "corners": Corners}[coder.loss_coding](coder.variance)
    decoded = (plain.decode(deltas, unit) for deltas in (pred, true))
    np.testing.assert_allclose(boxes.iou(*decoded), expected, rtol=1e-4)


@pytest.mark.parametrize("coder", [cls() for cls in CODERS.values()])
def test_references_without_area_give_finite_numbers(coder):
    for box in (BOX, tensor([3, 3, 3, 3]), tensor([-1, -1, -1, -1])):
        assert np.isfinite(coder.encode(box, tensor([3, 3, 3, 3]))).all()


def test_unknown_format():
    with pytest.raises(ValueError, match="`bounding_box_format`.*'xyhw'"):
        Boxes("xyhw")
