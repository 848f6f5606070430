"""Distances to the edges of a box: positive, and learned from wherever they start."""

import numpy as np
import pytest
import tensorflow as tf
from detectors import build
from plain_rectangles import rectangles

from harmonic_tf.losses import DetectionLoss
from harmonic_tf.models.distances import positive


def test_values_and_slopes_by_hand():
    x = tf.constant([-2.0, -1e-3, 0.0, 5.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = positive(x)
    np.testing.assert_allclose(y, [np.exp(-2.0), np.exp(-1e-3), 1, 6], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(y, x), [np.exp(-2.0), np.exp(-1e-3), 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("preset", "layer"), [("fcos_tiny", "box_prediction"), ("fsaf_tiny", "box_head")]
)
def test_a_side_that_starts_negative_everywhere_is_learned(preset, layer):
    """With a ReLU its bias has no gradient."""
    model = build(preset)
    bias = model.network.get_layer(layer).weights[-1]
    bias.assign(np.full(bias.shape, -3.0, "float32"))
    images, targets = rectangles(count=1)
    model.compile("sgd", loss=DetectionLoss())
    with tf.GradientTape() as tape:
        value = model.compute_loss(images, targets, model(images))
    sides = np.asarray(tape.gradient(value, bias.value))[-4:]
    assert (np.abs(sides) > 1e-4).all(), sides
