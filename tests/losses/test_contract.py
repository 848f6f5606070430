"""What a loss refuses, and what it says."""

import numpy as np
import pytest

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss

pytestmark = pytest.mark.usefixtures("without_compiling")


def batch(rows=3, columns=4, classes=(0, -1, -2)):
    y_true = {"box": np.zeros((1, rows, 4)), "classification": np.array([classes])}
    y_pred = {"box": np.zeros((1, rows, 4)), "classification": np.zeros((1, rows, columns))}
    return y_true, y_pred


def refuses(y_true, y_pred, match, form="softmax"):
    with pytest.raises(ValueError, match=match):
        HarmonicDetLoss(form)(y_true, y_pred)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("key", ["box", "classification"])
def test_missing_key(side, key):
    case = batch()
    del case[side][key]
    name = ("y_true", "y_pred")[side]
    refuses(*case, match=rf"`{name}` must be a dictionary.*keys \['")


@pytest.mark.parametrize(("side", "columns"), [(0, 5), (0, 3), (1, 5), (1, 1)])
def test_boxes_without_four_deltas(side, columns):
    case = batch()
    case[side]["box"] = np.zeros((1, 3, columns))
    refuses(*case, match=rf"\(1, 3, 4\).*Received: \(1, 3, {columns}\)")


def test_targets_and_predictions_of_different_length():
    (y_true, _), (_, y_pred) = batch(rows=3), batch(rows=5, classes=[-1] * 5)
    refuses(y_true, y_pred, match=r"\(1, 5, 4\).*Received: \(1, 3, 4\)")


def test_one_hot_classes():
    y_true, y_pred = batch()
    y_true["classification"] = np.zeros((1, 3, 4))
    refuses(y_true, y_pred, match=r"y_true\[\"classification\"\].*Received: \(1, 3, 4\)")


def test_softmax_logits_need_a_background():
    refuses(*batch(columns=1), match="at least 2 columns.*background last")


@pytest.mark.parametrize(
    ("true_columns", "pred_columns", "name"), [(4, 8, "y_true"), (6, 8, "y_true"), (5, 4, "y_pred")]
)
def test_packed_tensor_of_the_wrong_width(true_columns, pred_columns, name):
    y_true, y_pred = np.zeros((1, 3, true_columns)), np.zeros((1, 3, pred_columns))
    refuses(y_true, y_pred, match=rf"`{name}` must be .*harmonic_tf\.pack")


@pytest.mark.parametrize("form", ["softmax", "focal"])
@pytest.mark.parametrize("index", [100, 3.5, -3])
def test_class_that_is_not_there(form, index):
    y_true, y_pred = batch(classes=(0, index, -1))
    refuses(y_true, y_pred, match=rf"below.*Received {float(index)} at \(0, 1\)", form=form)


def test_first_class_beyond_the_last_column():
    """Four columns are four classes in the focal form, three and a background in the softmax."""
    assert np.isfinite(DetectionLoss("focal")(*batch(classes=(3, -1, -2))))
    refuses(*batch(classes=(3, -1, -2)), match="below 3")
    refuses(*batch(classes=(4, -1, -2)), match="below 4", form="focal")
    assert np.isfinite(DetectionLoss("softmax")(*batch(classes=(2, -1, -2))))
