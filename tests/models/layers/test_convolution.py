"""Convolution by matrix products is Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from differentiate_layer import output_and_gradients

from harmonic_tf.models.layers.convolution import Conv2D, SeparableConv2D, convolve_same

LARGE = (2, 60, 50, 64)
SMALL = (2, 7, 8, 4)
ONE_CELL = {"kernel_size": 1, "activation": "relu"}


def maps(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), "float32")


def both(settings, shape, dtype="float32"):
    """Keras's layer and ours, with the same weights."""
    layers = [kind(filters=5, dtype=dtype, **settings) for kind in (keras.layers.Conv2D, Conv2D)]
    for layer in layers:
        layer.build(shape)
    weights = [maps(w.shape, 1) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.parametrize(
    "settings",
    [
        ONE_CELL,
        {**ONE_CELL, "padding": "same", "use_bias": False},
        {**ONE_CELL, "strides": 2},
        {**ONE_CELL, "strides": (3, 2), "padding": "same"},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": (5, 1), "padding": "same", "activation": "relu"},
        {"kernel_size": (2, 3), "padding": "same"},
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": "same", "strides": 2},
        {"kernel_size": 3, "padding": "same", "dilation_rate": 2},
    ],
)
def test_equals_keras(settings, shape):
    expected, received = (output_and_gradients(x, maps(shape)) for x in both(settings, shape))
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-3)


def test_a_batch_and_a_map_of_unknown_size():
    expected, layer = both(ONE_CELL, SMALL)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4))])
    np.testing.assert_allclose(unknown(maps(SMALL)), expected(maps(SMALL)), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 5), (6, 4)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 5), (5, 3)])
def test_gradients_where_the_kernel_is_about_as_large_as_the_map(size, kernel_size):
    x, kernel = maps((3, *size, 2)), maps((*kernel_size, 2, 4), 1)
    upstream = maps((3, *size, 4), 2)
    gradients = []
    for convolve in (lambda x, y: tf.nn.conv2d(x, y, 1, "SAME"), convolve_same):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel)
        gradients.append(tape.gradient(y, [x, kernel], upstream))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)


def test_can_be_compiled_by_xla():
    _, layer = both({"kernel_size": 3, "padding": "same"}, LARGE)
    step = tf.function(lambda x: output_and_gradients(layer, x), jit_compile=True)
    expected = output_and_gradients(layer, maps(LARGE))
    for a, b in zip(expected, step(maps(LARGE)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * np.abs(a).max())


@pytest.mark.parametrize("settings", [ONE_CELL, {"kernel_size": 3, "padding": "same"}])
@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_other_precisions_and_gpus_are_left_to_keras(settings, dtype, monkeypatch):
    for policy in (dtype, "float32"):
        if policy == "float32":
            monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
        expected, received = (
            output_and_gradients(x, maps(LARGE)) for x in both(settings, LARGE, policy)
        )
        for a, b in zip(expected, received, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.array(b, "float64"), np.array(a, "float64"))


def test_weights_of_keras_s_layer_can_be_loaded(tmp_path):
    networks = [
        keras.Sequential([keras.Input(SMALL[1:]), layer])
        for layer in both({"kernel_size": 3}, SMALL)
    ]
    path = str(tmp_path / "keras.weights.h5")
    networks[0].save_weights(path)
    networks[1].set_weights([np.zeros(w.shape) for w in networks[1].get_weights()])
    networks[1].load_weights(path)
    np.testing.assert_array_equal(networks[1](maps(SMALL)), networks[0](maps(SMALL)))


@pytest.mark.parametrize("normalized", [True, False])
def test_a_separable_convolution_is_one_of_each_channel_then_one_across_them(normalized):
    layer = SeparableConv2D(5, 3, normalized=normalized, kernel_initializer="ones")
    seen = maps((1, 4, 6, 2))
    received = layer(seen)
    own, bias = layer.depthwise.kernel, layer.pointwise.bias
    assert np.all(layer.pointwise.kernel == 1) and not np.any(bias)
    padded = np.pad(seen, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    each = np.einsum("bhwcij,ijco->bhwc", windows, own)
    if normalized:  # new statistics are 0 and 1
        each = np.maximum(each / np.sqrt(1 + layer.normalization.epsilon), 0)
    expected = np.repeat(each.sum(axis=-1, keepdims=True), 5, axis=-1)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_a_normalized_separable_convolution_learns_alike_from_maps_of_any_scale():
    layer = SeparableConv2D(5, 3)
    seen = maps((4, 8, 8, 2))
    expected, received = (layer(scale * seen, training=True) for scale in (1.0, 1000.0))
    np.testing.assert_allclose(received, expected, atol=0.02)
    assert np.std(expected) > 0.1


def test_a_new_separable_convolution_keeps_the_variance_of_what_it_sees():
    keras.utils.set_random_seed(0)
    layer = SeparableConv2D(64, 3, normalized=False, kernel_initializer="lecun_normal")
    received = layer(maps((4, 32, 32, 64)))
    assert np.std(received) == pytest.approx(1, abs=0.15)


def test_the_config_of_a_separable_convolution_is_complete():
    layer = SeparableConv2D(
        5, 3, strides=2, padding="valid", activation="relu", kernel_initializer="he_normal",
        name="separable",
    )  # fmt: skip
    again = SeparableConv2D.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert tuple(again(maps((1, 7, 9, 2))).shape) == (1, 3, 4, 5)
    assert again.compute_output_shape((1, 7, 9, 2)) == (1, 3, 4, 5)
