"""What DSSD adds to SSD, by hand."""

import keras
import numpy as np

from harmonic_tf.models.dssd import deconvolved, prediction_module


def test_each_map_is_multiplied_with_the_coarser_ones():
    """Identity convolutions and constant maps 2, 3, 5: 5, then 3 * 5, then 2 * 3 * 5."""
    sizes = (4, 2, 1)
    inputs = [keras.Input((size, size, 1)) for size in sizes]
    model = keras.Model(inputs, deconvolved(inputs, filters=1))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            layer.kernel.assign(np.ones((2, 2, 1, 1)))
        elif isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros((3, 3, 1, 1))
            kernel[1, 1] = 1.0
            layer.kernel.assign(kernel)
    images = [
        np.full((1, size, size, 1), value, "float32")
        for size, value in zip(sizes, (2, 3, 5), strict=True)
    ]
    # New batch normalisations divide by sqrt(1 + 0.001).
    received = [float(np.array(x).mean()) for x in model(images)]
    np.testing.assert_allclose(received, [30, 15, 5], rtol=6e-3)


def test_prediction_module_is_residual():
    """With its last convolution at zero, only the shortcut is left, after a ReLU."""
    x = keras.Input((2, 2, 4))
    model = keras.Model(x, prediction_module(x, filters=4, name="module"))
    model.get_layer("module_3").kernel.assign(np.zeros((1, 1, 2, 8)))
    kernel = np.random.default_rng(0).normal(size=(1, 1, 4, 8))
    model.get_layer("module_shortcut").kernel.assign(kernel)
    images = np.random.default_rng(1).normal(size=(1, 2, 2, 4)).astype("float32")
    expected = np.maximum(images @ kernel[0, 0], 0)
    np.testing.assert_allclose(model(images), expected, rtol=1e-5, atol=1e-6)
