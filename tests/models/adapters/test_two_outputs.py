"""A functional model with an output for boxes and one for classes, by its layout."""

import keras
import numpy as np
import pytest
from others import assert_same

from harmonic_tf import Layout, harmonize
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models import from_preset
from harmonic_tf.models.adapters import Harmonized

ANCHORS = 16
NAMES = ("regression", "classification")


def functional(order=NAMES, classes=3, as_dictionary=False):
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=8, padding="same", activation="relu")(images)
    outputs = {}
    for name, width, activation in (
        ("regression", 4, None),
        ("classification", classes, "sigmoid"),
    ):
        rows = keras.layers.Conv2D(width, 1, activation=activation)(x)
        outputs[name] = keras.layers.Reshape((ANCHORS, width), name=name)(rows)
    outputs = {name: outputs[name] for name in order}
    return keras.Model(images, outputs if as_dictionary else list(outputs.values()))


def batch(classes=3, state=True):
    """Images and targets by output: a target of each anchor, one-hot, and its state."""
    rng = np.random.default_rng(0)
    learned = rng.integers(-2, classes, (2, ANCHORS))
    targets = {
        "regression": rng.normal(0, 0.5, (2, ANCHORS, 4)),
        "classification": (learned[..., None] == np.arange(classes)).astype("float32"),
    }
    if state:
        states = np.sign(learned + 1)[..., None]
        targets = {name: np.concatenate([v, states], axis=-1) for name, v in targets.items()}
    images = rng.uniform(0, 1, (2, 32, 32, 3))
    return images.astype("float32"), {k: v.astype("float32") for k, v in targets.items()}


@pytest.mark.parametrize("classes", [3, 4])
@pytest.mark.parametrize("layout", ["keras_retinanet", "efficientdet"])
@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_the_loss_is_that_of_the_packed_form(layout, order, classes):
    """In either order, as a list or a dictionary, also with as many classes as a box has sides."""
    images, targets = batch(classes)
    expected = None
    for as_dictionary in (False, True):
        theirs = functional(order, classes, as_dictionary)
        model = harmonize(theirs, layout=layout)
        model.compile("sgd", loss=HarmonicDetLoss())
        outputs = theirs(images)
        named = outputs if as_dictionary else dict(zip(order, outputs, strict=True))
        y_true, y_pred = (
            np.concatenate([x["regression"], x["classification"]], axis=-1)
            for x in (targets, named)
        )
        expected = float(HarmonicDetLoss(layout=layout)(y_true, y_pred))
        y = {name: targets[name] for name in order}
        y = y if as_dictionary else list(y.values())
        assert float(model.compute_loss(images, y, outputs)) == pytest.approx(expected, rel=1e-6)
        found = theirs.predict(images, verbose=0)
        received = model.predict(images, verbose=0)
        if as_dictionary:
            assert_same(received, found)
        else:
            for a, b in zip(received, found, strict=True):
                np.testing.assert_array_equal(a, b)


def test_it_learns_and_goes_on_after_it_was_saved(tmp_path):
    images, targets = batch()
    targets = list(targets.values())
    model = harmonize(functional(), layout="keras_retinanet")
    model.compile(keras.optimizers.Adam(1e-2), loss=HarmonicDetLoss())
    losses = model.fit(images, targets, epochs=10, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layout == model.layout == "keras_retinanet"
    results = [m.fit(images, targets, epochs=3, verbose=0).history for m in (model, loaded)]
    assert results[0] == results[1]


def test_distances_in_strides():
    """FCOS-like: left, top, right, bottom, and classes as indices."""
    layout = Layout(box_coding="distances", background=None, from_logits=False)
    images, targets = batch(state=False)
    distances = np.abs(targets["regression"]) + 0.5
    classes = np.where(targets["classification"].any(-1), targets["classification"].argmax(-1), -1)
    theirs = functional()
    model = harmonize(theirs, layout=layout)
    model.compile("sgd", loss=HarmonicDetLoss())
    box, scores = (x.numpy() for x in theirs(images))
    received = float(model.compute_loss(images, [distances, classes], [box, scores]))
    packed = HarmonicDetLoss(layout=layout)(
        np.concatenate([distances, classes[..., None]], axis=-1),
        np.concatenate([box, scores], axis=-1),
    )
    assert received == pytest.approx(float(packed), rel=1e-6)
    again = Harmonized.from_config(model.get_config())
    assert again.adapter.layout == layout


def test_mining_and_weights_of_images():
    layout = Layout(background="last", from_logits=True)
    images, targets = batch()
    classes = np.where(targets["classification"][..., -1] == 1, 0, -1)
    y = [targets["regression"][..., :4], classes]
    theirs = functional()
    outputs = theirs(images)
    values = []
    for settings in ({}, {"negative_ratio": 0.2}):
        model = harmonize(theirs, layout=layout)
        model.compile("sgd", loss=HarmonicDetLoss(**settings), run_eagerly=True)
        values.append(float(model.compute_loss(images, y, outputs)))
    assert 0 < values[1] < values[0]
    weights = np.array([1.0, 0.0], "float32")
    both = model.evaluate(images, y, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    first = float(model.compute_loss(images, y, outputs, weights))
    assert both == pytest.approx(first, rel=1e-5) and first < values[1]


def one_output():
    images = keras.Input((8,))
    return keras.Model(images, keras.layers.Dense(7)(images))


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize(
    ("make", "layout", "message"),
    [
        (functional, None, "expected `layout`, one of"),
        (one_output, None, r"HarmonicDetLoss\(layout=...\)"),
        (one_output, "ssd_keras", r"HarmonicDetLoss\(layout=...\)"),
        (Subclassed, None, "knows keras_cv's RetinaNet, .*pack"),
        (object, None, "functional Keras 3 models"),
        (lambda: from_preset("ssd_tiny", 3), None, "compiled as it is"),
        (functional, "ssd", "must be a harmonic_tf.Layout or one of"),
    ],
)
def test_other_models_are_told_what_to_do(make, layout, message):
    with pytest.raises(ValueError, match=message):
        harmonize(make(), layout=layout)


def test_outputs_that_cannot_be_told_apart_are_refused():
    images = keras.Input((32, 32, 3))
    outputs = [keras.layers.Dense(4, name=name)(images[:, 0]) for name in ("one", "two")]
    with pytest.raises(ValueError, match="Expected an output of boxes"):
        harmonize(keras.Model(images, outputs), layout="efficientdet")


def test_metrics_need_detections():
    model = harmonize(functional(), layout="keras_retinanet")
    with pytest.raises(ValueError, match="no detections for metrics to judge"):
        model.compile("sgd", metrics=["accuracy"])
