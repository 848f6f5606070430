"""The same numbers however the loss is run: eager, traced, compiled, on other backends, split."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import reference
from differentiate import differentiator
from reference import FORMS, VARIATIONS, random_case

from harmonic_tf import pack
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.ops import compilation, objective

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
every_form = pytest.mark.parametrize("form", FORMS)


def run_script(script, *arguments, backend="tensorflow", **variables):
    """Runs a script of this folder in a process of its own, with this checkout on its path."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path, **variables}
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@every_form
@pytest.mark.parametrize("variation", ["default", "harmonic norm"])
def test_eager_graph_and_xla_agree(form, variation):
    loss = HarmonicDetLoss(form, negative_ratio=3.0, **VARIATIONS[variation])
    runs = {mode: differentiator(loss, mode) for mode in ("eager", "graph", "xla")}
    for seed in range(3):
        y_true, y_pred = random_case(form, seed, rows=50)
        value, gradients = runs["eager"](y_true, y_pred)
        for mode in ("graph", "xla"):
            other_value, others = runs[mode](y_true, y_pred)
            np.testing.assert_allclose(other_value, value, rtol=1e-6, err_msg=mode)
            for key in gradients:
                np.testing.assert_allclose(others[key], gradients[key], atol=1e-6, err_msg=mode)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others know all shapes")
@every_form
@pytest.mark.parametrize("variation", ["default", "harmonic norm"])
def test_the_number_of_images_may_be_unknown(form, variation):
    """As in `fit`, once a last batch has had fewer of them."""
    import tensorflow as tf

    loss = HarmonicDetLoss(form, **VARIATIONS[variation])
    case = tf.nest.map_structure(lambda x: tf.constant(x, "float32"), random_case(form, seed=1))
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:])), case)
    traced = tf.function(lambda y_true, y_pred: loss(y_true, y_pred), input_signature=specs)
    for count in (1, 2):
        images = tf.nest.map_structure(lambda x, count=count: x[:count], case)
        np.testing.assert_allclose(traced(*images), loss(*images), rtol=1e-6)


def test_more_rows_than_a_core_takes_at_once(monkeypatch):
    """Also with a last chunk that is not full, and with sizes that change from call to call."""
    monkeypatch.setattr(compilation, "_NUMBERS_PER_CORE", 160)
    objective._compiled.cache_clear()
    for count in (7, 50):
        case = random_case("focal", seed=count, batch=3, rows=count)
        terms = HarmonicDetLoss("focal", reduction=None)(*case)
        expected = reference.parts(*case, classification="focal")
        positives = max(1, expected["positive"].sum())
        np.testing.assert_allclose(terms, expected["total"] / positives, rtol=1e-5)
    objective._compiled.cache_clear()


def test_one_loss_serves_models_of_different_class_counts():
    loss = HarmonicDetLoss("focal")
    for classes in (2, 5):
        case = random_case("focal", seed=1, classes=classes)
        expected = reference.loss(*case, classification="focal")
        np.testing.assert_allclose(loss(*case), expected, rtol=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_numbers(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    results = {}
    for name in (backend, "tensorflow"):
        run_script("differentiate.py", tmp_path / f"{name}.npz", backend=name)
        results[name] = dict(np.load(tmp_path / f"{name}.npz"))
    assert set(results[backend]) == set(results["tensorflow"])
    for key, value in results["tensorflow"].items():
        np.testing.assert_allclose(results[backend][key], value, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_fit_what_is_packed(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run_script("fit_packed.py", backend=backend)


def packed_model(columns):
    """The smallest detector: a dense layer from an image's features to a packed output."""
    inputs = keras.Input((6, 8))
    outputs = keras.layers.Dense(4 + columns, kernel_initializer=keras.initializers.Zeros())(inputs)
    return keras.Model(inputs, outputs)


def packed_data(seed=0):
    rng = np.random.default_rng(seed)
    classes = rng.integers(-1, 4, (16, 6))
    boxes = rng.normal(size=(5, 4))[classes]
    features = np.concatenate([np.eye(5)[classes], rng.normal(size=(16, 6, 3))], -1)
    y_true = pack({"box": boxes.astype("float32"), "classification": classes})
    return features.astype("float32"), np.asarray(y_true)


@every_form
def test_functional_model_with_a_packed_output_fits(form):
    model = packed_model(4 + (form == "softmax"))
    model.compile(keras.optimizers.Adam(0.1), loss=HarmonicDetLoss(form))
    history = model.fit(*packed_data(), batch_size=8, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.6 * history[0]
    assert np.isfinite(history).all()


@every_form
def test_jitted_train_step_equals_the_ordinary_one(form):
    histories = []
    for jit in (False, True):
        model = packed_model(4 + (form == "softmax"))
        loss = HarmonicDetLoss(form, negative_ratio=3.0)
        model.compile(keras.optimizers.SGD(0.05), loss=loss, jit_compile=jit)
        fit = functools.partial(model.fit, batch_size=8, epochs=3, shuffle=False, verbose=0)
        histories.append(fit(*packed_data()).history["loss"])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)


def test_two_replicas_equal_one_device():
    # What is run once is not worth optimising.
    run_script("split_over_replicas.py", XLA_FLAGS="--xla_backend_optimization_level=0")


def test_factors_that_all_vanish_are_two_in_compiled_steps_too():
    """Where the logits of a sigmoid are -20, p is 0 in float32; nothing is divided by it."""
    y_true, y_pred = random_case("focal", seed=5)
    y_pred["classification"] = np.full_like(y_pred["classification"], -20)
    settings = {"factor_offset": 0.0, "normalize_factors": True, "factor_gradient": False}
    _, parts = HarmonicDetLoss("focal", **settings).with_parts(y_true, y_pred)
    positive = np.asarray(parts.positive) > 0
    parts = parts._make(np.asarray(part)[positive] for part in parts)
    assert (parts.p == 0).all()
    factor_r = 2 * parts.beta_r / parts.beta_r.mean()
    expected = factor_r * parts.classification + 2 * parts.localization + parts.contrastive
    np.testing.assert_allclose(parts.total, expected, rtol=1e-5)
