import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from differentiate_layer import output_and_gradients

from harmonic_tf.models.layers import grouped_convolution
from harmonic_tf.models.layers.grouped_convolution import GroupedConv2D


def settings(**changes):
    return {"filters": 6, "kernel_size": 3, "groups": 3, "padding": "same", **changes}


@contextlib.contextmanager
def skipped_without_one_dnn():
    """TensorFlow has some kernels of CPUs from oneDNN, which not every build has."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        if "CPU" not in str(error):
            raise
        pytest.skip("needs oneDNN")


def use(form, monkeypatch):
    gpus = {"split": [], "whole": ["a GPU"]}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus[form])


@pytest.mark.parametrize("form", ["split", "whole"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strides": 2},
        {"strides": 2, "padding": "valid"},
        {"dilation_rate": 2},
        {"groups": 6, "filters": 12},
    ],
)
def test_equals_keras(form, changes, monkeypatch):
    use(form, monkeypatch)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 7, 8, 6)), "float32")
    ours = GroupedConv2D(**settings(**changes))
    theirs = keras.layers.Conv2D(**settings(**changes))
    ours.build(x.shape)
    theirs.build(x.shape)
    ours.set_weights(theirs.get_weights())
    expected = output_and_gradients(theirs, x)
    with skipped_without_one_dnn():
        received = output_and_gradients(ours, x)
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["split", "whole"])
def test_form_follows_the_device(form, monkeypatch):
    use(form, monkeypatch)
    for name in ("split", "whole"):
        monkeypatch.setattr(
            grouped_convolution, name, lambda *arrays, _name=name, **settings: _name
        )
    assert GroupedConv2D(**settings()).convolution_op(None, None) == form


def test_channels_first():
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 6)).astype("float32")
    last = GroupedConv2D(**settings())
    expected = last(x)
    first = GroupedConv2D(**settings(data_format="channels_first"))
    first.build((2, 6, 7, 8))
    first.set_weights(last.get_weights())
    with skipped_without_one_dnn():
        received = np.transpose(first(x.transpose(0, 3, 1, 2)), (0, 2, 3, 1))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_one_group_is_an_ordinary_convolution():
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype("float32")
    layer = GroupedConv2D(3, 3)
    np.testing.assert_allclose(layer(x), keras.ops.conv(x, layer.kernel), rtol=1e-6, atol=1e-6)


def test_survives_saving(tmp_path):
    images = keras.Input((8, 8, 6))
    model = keras.Model(images, GroupedConv2D(**settings(strides=2, activation="relu"))(images))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype("float32")
    assert isinstance(loaded.layers[-1], GroupedConv2D)
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(loaded(x), model(x))
