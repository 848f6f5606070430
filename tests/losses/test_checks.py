"""Wrong numbers are never silent: what is refused or warned of while a model trains."""

import warnings

import keras
import numpy as np
import pytest

from harmonic_tf import Layout
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.metrics import MeanScore


def dense_model(columns, activation=None, **compile_settings):
    inputs = keras.Input((8,))
    x = keras.layers.Dense(6 * columns)(inputs)
    scores = keras.layers.Reshape((6, columns))(x)
    if activation:
        heads = scores[..., :4], keras.layers.Activation(activation)(scores[..., 4:])
        scores = keras.layers.Concatenate()(heads)
    model = keras.Model(inputs, scores)
    model.compile("sgd", **compile_settings)
    return model


def batch(classes):
    y = np.concatenate([np.zeros((4, 6, 4)), np.resize(classes, (4, 6, 1))], -1)
    return np.ones((4, 8), "float32"), y.astype("float32")


FROM_ONE = [0, 1, 2, 3, 3, 0]
NO_BACKGROUND = [-1, 0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    ("columns", "classes", "form", "match"),
    [
        (8, FROM_ONE, "softmax", r"below 3.*4 columns.*3 classes and the background.*from 1.*3\]"),
        (7, NO_BACKGROUND, "softmax", r"below 2.*3 columns.*classification=.*focal.*reads 3.*2\]"),
        (7, FROM_ONE, "focal", r"below 3.*3 columns.*read as 3 classes.*from 1.*3\]"),
        (8, [0, -3, 1, 1, 1, 1], "softmax", r"-2 for ignored"),
        (8, [0, 0.5, 1, 1, 1, 1], "softmax", r"whole numbers"),
    ],
)
def test_a_class_without_a_column_stops_fit_and_evaluate(columns, classes, form, match):
    model = dense_model(columns, loss=DetectionLoss(form))
    for call in (model.fit, model.evaluate):
        with pytest.raises(Exception, match=match) as error:
            call(*batch(classes), verbose=0)
        assert type(error.value).__name__ == "InvalidArgumentError"
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_a_metric_refuses_it_too():
    model = dense_model(8, loss=lambda y, scores: scores[..., 0], metrics=[MeanScore()])
    with pytest.raises(Exception, match="below 3"):
        model.evaluate(*batch(FROM_ONE), verbose=0)


def test_under_xla_the_loss_becomes_nan_instead():
    model = dense_model(8, loss=DetectionLoss(), jit_compile=True)
    assert np.isnan(model.evaluate(*batch(FROM_ONE), verbose=0))


def test_mixed_up_one_hot_rows_stop_fit():
    layout = Layout(targets=("box", "classes"))
    model = dense_model(7, loss=DetectionLoss(layout=layout))
    y = np.concatenate([np.zeros((4, 6, 4)), np.full((4, 6, 3), 0.4)], -1)
    with pytest.raises(Exception, match=r"-3 is a one-hot row[\s\S]*-3"):
        model.fit(np.ones((4, 8)), y, verbose=0)


def test_a_layout_gives_the_same_in_a_graph_and_under_xla():
    inputs = np.random.default_rng(1).normal(size=(4, 8)).astype("float32")
    y = np.zeros((4, 6, 4 + 1 + 3 + 1), "float32")
    y[:, 0, [4, 6, 8]] = 1
    y[:, 1, [4, 8]] = -1
    values = []
    for settings in ({"run_eagerly": True}, {}, {"jit_compile": True}):
        keras.utils.set_random_seed(0)
        loss = HarmonicDetLoss(layout="efficientdet", normalize_factors=True)
        model = dense_model(7, "sigmoid", loss=loss, **settings)
        values.append([model.train_on_batch(inputs, y) for _ in range(2)])
    np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-5)


@pytest.mark.parametrize(("form", "activation"), [("softmax", "softmax"), ("focal", "sigmoid")])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_probabilities_taken_for_logits_are_warned_of_once(form, activation, run_eagerly):
    model = dense_model(8, activation, loss=HarmonicDetLoss(form), run_eagerly=run_eagerly)
    with pytest.warns(UserWarning, match=f"{activation} had been applied.*from_logits=False"):
        model.fit(*batch([-1, 0, 1, 2, -2, -1]), verbose=0)
    model.fit(*batch([-1, 0, 1, 2, -2, -1]), verbose=0)


def test_under_xla_nobody_warns():
    model = dense_model(8, "softmax", loss=DetectionLoss(), jit_compile=True)
    assert np.isfinite(model.evaluate(*batch([-1, 0, 1, 2, -2, -1]), verbose=0))


@pytest.mark.parametrize("form", ["softmax", "focal"])
@pytest.mark.parametrize("scores", ["logits", "zeros", "halves"])
def test_logits_are_not_warned_of(form, scores):
    """Neither are those of a head that starts at zero, whatever its bias."""
    rng = np.random.default_rng(0)
    logits = {"logits": rng.normal(size=(2, 9, 4)), "zeros": np.zeros((2, 9, 4))}
    logits["halves"] = np.full((2, 9, 4), 0.5)
    y_true = {"box": np.zeros((2, 9, 4)), "classification": np.full((2, 9), -1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DetectionLoss(form)(y_true, {"box": y_true["box"], "classification": logits[scores]})


def test_a_layout_of_probabilities_is_not_warned_of():
    layout = Layout(from_logits=False)
    model = dense_model(8, "softmax", loss=DetectionLoss(layout=layout))
    model.fit(*batch([-1, 0, 1, 2, -2, -1]), verbose=0)
