"""The metrics of equations 14 and 3, by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from harmonic_tf import pack
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.metrics import InconsistencyCoefficient, MeanHarmonicFactor, MeanScore

P = np.array([0.8, 0.3, 0.6])
IOU = np.array([0.5, 1.0, 0.25])


def batch(classification="softmax", variance=0.2):
    """Three positives of class 0 with the scores P and the IoUs IOU, a negative, an ignored row."""
    delta = np.zeros((1, 5, 4), "float32")
    delta[0, :3, 2] = np.log(IOU) / variance
    delta[0, 3:] = 7
    if classification == "softmax":
        logits = np.stack([np.log(P), np.log(1 - P)], -1)
    else:
        logits = np.stack([np.log(P / (1 - P)), np.zeros(3)], -1)
    logits = np.concatenate([logits, [[9, 1], [-9, 1]]])[None].astype("float32")
    y_true = {"box": np.zeros_like(delta), "classification": np.array([[0, 0, 0, -1, -2]])}
    return y_true, {"box": delta, "classification": logits}


@pytest.mark.parametrize("form", ["softmax", "focal"])
@pytest.mark.parametrize(("reduction", "reduce"), [("mean", np.mean), ("sum", np.sum)])
def test_values_by_hand(form, reduction, reduce):
    settings = {"classification": form, "reduction": reduction}
    aic = InconsistencyCoefficient(**settings)(*batch(form))
    np.testing.assert_allclose(aic, reduce(np.abs(P - IOU)), rtol=1e-5)
    np.testing.assert_allclose(MeanScore(**settings)(*batch(form)), reduce(P), rtol=1e-6)
    beta_c = MeanHarmonicFactor("beta_c", **settings)(*batch(form))
    np.testing.assert_allclose(beta_c, reduce(P), rtol=1e-6)
    distance = np.abs(np.log(IOU) / 0.2)
    l_loc = np.where(distance < 1, distance**2 / 2, distance - 0.5)
    l_loc += 1.5 * (1 + IOU) ** 0.8 * (1 - IOU)
    beta_r = MeanHarmonicFactor("beta_r", **settings)(*batch(form))
    np.testing.assert_allclose(beta_r, reduce(np.exp(-l_loc)), rtol=1e-5)


def test_mean_is_over_the_positives_of_all_batches():
    metric = MeanScore()
    y_true, y_pred = batch()
    metric.update_state(y_true, y_pred)
    one = {**y_true, "classification": np.array([[0, -1, -1, -1, -1]])}
    metric.update_state(one, y_pred)
    assert float(metric.result()) == pytest.approx((0.8 + 0.3 + 0.6 + 0.8) / 4)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_no_positives_is_zero_and_not_nan():
    y_true, y_pred = batch()
    nothing = {**y_true, "classification": np.full((1, 5), -1)}
    for reduction in ("mean", "sum"):
        assert float(InconsistencyCoefficient(reduction=reduction)(nothing, y_pred)) == 0


@pytest.mark.parametrize("weight", [[[1.0, 3.0, 0.0, 5.0, 5.0]], [2.0]])
def test_sample_weight_of_rows_or_images(weight):
    rows = np.broadcast_to(np.array(weight).reshape(1, -1), (1, 5))[0, :3]
    actual = MeanScore()(*batch(), sample_weight=np.array(weight))
    assert float(actual) == pytest.approx((P * rows).sum() / rows.sum(), rel=1e-6)


def test_box_variance():
    unit = InconsistencyCoefficient(box_variance=(1, 1, 1, 1))
    np.testing.assert_allclose(unit(*batch(variance=1.0)), np.abs(P - IOU).mean(), rtol=1e-5)


def test_packed_tensors():
    y_true, y_pred = batch()
    expected = float(InconsistencyCoefficient()(y_true, y_pred))
    y_true["box"] = y_true["box"].astype("float32")
    assert float(InconsistencyCoefficient()(pack(y_true), pack(y_pred))) == expected


def test_parts_of_a_loss_save_the_second_pass():
    case = batch()
    _, parts = HarmonicDetLoss().with_parts(*case)
    for metric in (InconsistencyCoefficient(), MeanHarmonicFactor("beta_r"), MeanScore()):
        expected = type(metric).from_config(metric.get_config())(*case)
        metric.update_from_parts(parts)
        assert float(metric.result()) == pytest.approx(float(expected), rel=1e-6)


def test_compiled_into_a_model():
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=HarmonicDetLoss(), metrics=[InconsistencyCoefficient()])
    y_true, y_pred = batch()
    result = model.evaluate(
        ops.convert_to_numpy(pack(y_pred)),
        ops.convert_to_numpy(pack({**y_true, "box": y_true["box"].astype("float32")})),
        return_dict=True,
        verbose=0,
    )
    assert result["aic"] == pytest.approx(np.abs(P - IOU).mean(), rel=1e-5)


def test_refuses_unknown_settings():
    with pytest.raises(ValueError, match="`reduction`.*'median'"):
        MeanScore(reduction="median")
    with pytest.raises(ValueError, match="`factor`.*'beta_e'"):
        MeanHarmonicFactor("beta_e")
