from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.models.backbones.backbone import PyramidBackbone, build_backbone
from harmonic_tf.models.backbones.vgg import fc6_weights, fc7_weights, load_vgg16
from harmonic_tf.models.layers.l2_normalization import L2Normalization

CHANNELS = {
    f"block{block}_conv{i}": filters
    for block, filters, depth in ((1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3))
    for i in range(1, depth + 1)
}


class Application:
    """Stands in for VGG-16 with its classifier, without the time that 138 million floats take."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.weights = {}
        inputs = 3
        for name, filters in CHANNELS.items():
            kernel = random.normal(scale=0.02, size=(3, 3, inputs, filters))
            self.weights[name] = [kernel, random.normal(size=filters)]
            inputs = filters
        for name, rows in (("fc1", 7 * 7 * 512), ("fc2", 4096)):
            kernel = random.integers(0, 256, (rows, 4096), "uint8")
            self.weights[name] = [kernel, random.normal(size=4096)]

    def get_layer(self, name):
        return SimpleNamespace(get_weights=lambda: self.weights[name])


@pytest.fixture(scope="module")
def application():
    return Application()


@pytest.fixture(scope="module")
def vgg16(application):
    def build(include_top, weights, input_shape):
        assert include_top and weights == "imagenet"
        return application

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "VGG16", build)
        return build_backbone("vgg16", (None, None), weights="imagenet")


def test_levels_are_those_of_ssd300(vgg16):
    shapes = vgg16.compute_output_shape((1, 300, 300, 3))
    assert shapes == {
        "P3": (1, 38, 38, 512),
        "P4": (1, 19, 19, 1024),
        "P5": (1, 10, 10, 512),
        "P6": (1, 5, 5, 256),
        "P7": (1, 3, 3, 256),
        "P8": (1, 1, 1, 256),
    }
    assert vgg16.compute_output_shape((1, 257, 320, 3))["P8"] == (1, 1, 1, 256)


def test_has_as_many_parameters_as_ssd300(vgg16):
    # The published SSD300 of VOC has 26,285,486 with its heads: at each level one 3x3 convolution
    # for 4 deltas and one for 21 scores an anchor.
    anchors = {"P3": 4, "P4": 6, "P5": 6, "P6": 6, "P7": 4, "P8": 4}
    heads = sum(
        (3 * 3 * vgg16.output[level].shape[-1] + 1) * n * (4 + 21) for level, n in anchors.items()
    )
    assert heads == 3_341_550
    assert vgg16.count_params() == 26_285_486 - heads == 22_943_936


def test_p3_is_normalised_and_the_rest_is_not(vgg16):
    images = np.random.default_rng(0).uniform(0, 255, (1, 60, 64, 3)).astype("float32")
    names = {"conv": "block4_conv3", "P3": "block4_norm", "pool": "block4_pool"}
    outputs = {key: vgg16.get_layer(name).output for key, name in names.items()}
    assert vgg16.pyramid_level_inputs["P3"] == names["P3"]
    found = keras.Model(vgg16.input, outputs)(images)
    conv = np.array(found["conv"])
    lengths = np.linalg.norm(conv, axis=-1, keepdims=True)
    assert conv.shape == (1, 8, 8, 512) and np.all(lengths > 0)
    np.testing.assert_allclose(found["P3"], 20 * conv / lengths, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["pool"], conv.reshape(1, 4, 2, 4, 2, 512).max(axis=(2, 4)))


def test_prepares_images_as_keras_applications_do(vgg16):
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    first = vgg16.get_layer("block1_conv1")
    expected = first(keras.applications.vgg16.preprocess_input(images.copy()))
    received = keras.Model(vgg16.input, first.output)(images)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(256, 300), (300, 200)])
def test_images_that_are_too_small(size):
    with pytest.raises(ValueError, match=rf"at least 257 by 257.*\({size[0]}, {size[1]}\)"):
        PyramidBackbone("vgg16", size)


def test_weights_of_the_application_are_loaded(vgg16, application):
    for name in CHANNELS:
        received, expected = vgg16.get_layer(name).get_weights(), application.weights[name]
        for a, b in zip(received, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_classifier_is_decimated(vgg16, application):
    kernel, bias = vgg16.get_layer("fc6").get_weights()
    dense_kernel, dense_bias = application.weights["fc1"]
    # Cell (2, 0) of 3 by 3 is the one in row 6 and column 0 of 7 by 7.
    np.testing.assert_array_equal(kernel[2, 0, 100], dense_kernel[6 * 7 * 512 + 100, ::4])
    np.testing.assert_allclose(bias, dense_bias[::4], rtol=1e-6)
    kernel, bias = vgg16.get_layer("fc7").get_weights()
    dense_kernel, dense_bias = application.weights["fc2"]
    np.testing.assert_array_equal(kernel[0, 0], dense_kernel[::4, ::4])
    np.testing.assert_allclose(bias, dense_bias[::4], rtol=1e-6)


def test_decimated_layers_give_what_the_dense_layers_give():
    """On images that are 0 wherever no kept weight looks, a dilated convolution is the layer."""
    random = np.random.default_rng(0)
    fc1 = random.normal(size=(7 * 7 * 4, 16)), random.normal(size=16)
    fc2 = random.normal(size=(16, 8)), random.normal(size=8)
    x = np.zeros((1, 7, 7, 4))
    x[:, ::3, ::3] = random.normal(size=(1, 3, 3, 4))
    hidden = x.reshape(1, -1) @ fc1[0] + fc1[1]
    kernel, bias = fc6_weights(*fc1)
    received = keras.ops.conv(x, kernel, dilation_rate=3) + bias
    np.testing.assert_allclose(received[:, 0, 0], hidden[:, ::4], rtol=1e-6)
    hidden[:, np.arange(16) % 4 > 0] = 0
    kernel, bias = fc7_weights(*fc2)
    received = keras.ops.conv(received, kernel) + bias
    np.testing.assert_allclose(received[:, 0, 0], (hidden @ fc2[0] + fc2[1])[:, ::4], rtol=1e-6)


def test_a_missing_weights_file_is_named(vgg16):
    with pytest.raises(ValueError, match="no/such/file.h5.*with its top"):
        load_vgg16(vgg16, "no/such/file.h5")


def test_normalisation_of_zeros_and_its_gradient():
    x = tf.constant([[0.0, 0.0], [3.0, -4.0]])
    layer = L2Normalization(scale=10.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y, [[0, 0], [6, -8]], rtol=1e-6)
    assert np.all(np.isfinite(tape.gradient(y, x)))


def test_normalisation_is_exact_in_half_precision():
    x = np.full((1, 512), 300.0, "float16")
    y = L2Normalization(scale=20.0, dtype="mixed_float16")(x)
    assert y.dtype == "float16"
    np.testing.assert_allclose(y, np.full((1, 512), 20 / np.sqrt(512)), rtol=1e-3)


def test_normalisation_survives_saving():
    layer = L2Normalization(scale=3.0, epsilon=1e-4, name="norm")
    config = L2Normalization.from_config(layer.get_config()).get_config()
    assert config == layer.get_config()
    assert config["scale"] == 3.0 and config["epsilon"] == 1e-4
