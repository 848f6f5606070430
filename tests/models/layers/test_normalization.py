"""Batch normalisation by one kernel is Keras's."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.models.layers.normalization import BatchNormalization


def layers(dtype="float32"):
    """Keras's layer and ours, with the same weights."""
    both = [
        kind(momentum=0.8, epsilon=1e-5, dtype=dtype)
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for layer in both:
        layer.build((None, None, None, 3))
        layer.set_weights([np.array(w) for w in ([1, 2, -1], [0, 1, 2], [0.1, 0, 1], [1, 2, 3])])
    return both


def maps(*shape):
    return tf.constant(np.random.default_rng(0).normal(2, 3, shape), "float32")


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (1, 2, 1, 3), (1, 1, 1, 3)])
def test_training(shape):
    x, upstream = maps(*shape), tf.sin(maps(*shape))
    results = []
    for layer in layers():
        weights = [layer.gamma.value, layer.beta.value]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        gradients = tape.gradient(y, [x, *weights], upstream)
        results.append([y, *gradients, layer.moving_mean, layer.moving_variance])
    for expected, received in zip(*results, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_float64():
    x = tf.cast(maps(4, 5, 6, 3), "float64")
    expected, received = (layer(x, training=True) for layer in layers("float64"))
    assert received.dtype == "float64"
    np.testing.assert_array_equal(received, expected)


def test_half_precision():
    x = tf.cast(maps(4, 5, 6, 3), "bfloat16")
    expected, received = (layer(x, training=True) for layer in layers("mixed_bfloat16"))
    assert received.dtype == expected.dtype == "bfloat16"
    np.testing.assert_allclose(
        np.array(received, "float32"), np.array(expected, "float32"), atol=0.05
    )


@pytest.mark.parametrize(("training", "trainable"), [(False, True), (True, False)])
def test_statistics_are_kept(training, trainable):
    x = maps(4, 5, 6, 3)
    expected, layer = layers()
    expected.trainable = layer.trainable = trainable
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(x, training=training), expected(x, training=training))
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"axis": 1}, (4, 3, 5, 6)),
        ({"axis": 3}, (4, 5, 6, 3)),
        ({"scale": False}, (4, 5, 6, 3)),
        ({"center": False}, (4, 5, 6, 3)),
        ({"renorm": True}, (4, 5, 6, 3)),
        ({}, (4, 3)),
    ],
)
def test_every_argument_of_keras(settings, shape):
    known = inspect.signature(keras.layers.BatchNormalization.__init__).parameters
    if not set(settings) <= set(known):
        pytest.skip(f"this Keras has no {', '.join(settings)}")
    x = maps(*shape)
    results = []
    for kind in (keras.layers.BatchNormalization, BatchNormalization):
        layer = kind(momentum=0.8, **settings)
        y = layer(x, training=True)
        results.append([y, *layer.get_weights()])
    for expected, received in zip(*results, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


def test_masks():
    x, mask = maps(4, 5, 6, 3), np.random.default_rng(1).uniform(size=(4, 5, 6)) < 0.5
    expected, received = (layer(x, training=True, mask=mask) for layer in layers())
    np.testing.assert_allclose(received, expected, rtol=1e-5)
