"""MobileNets and EfficientNetV2s of Keras applications, with our layers in them."""

import keras
import numpy as np
import pytest

from harmonic_tf.models.backbones.backbone import PyramidBackbone

# The application, the layer of its P5, and the channels of its levels.
EXPECTED = {
    "mobilenet_v2": ("MobileNetV2", "block_16_project_BN", (24, 32, 96, 320)),
    "mobilenet_v3_large": ("MobileNetV3Large", "expanded_conv_14_add", (24, 40, 112, 160)),
    "efficientnet_v2_b0": ("EfficientNetV2B0", "block6h_add", (32, 48, 112, 192)),
}


@pytest.mark.parametrize("architecture", EXPECTED)
def test_computes_and_preprocesses_as_keras_applications_do(architecture):
    keras.utils.set_random_seed(0)
    name, last, channels = EXPECTED[architecture]
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(64, 96, 3)
    )
    random = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, x.shape) for x in layer.get_weights()])
    backbone = PyramidBackbone(architecture, (64, 96))
    sides = ((16, 24), (8, 12), (4, 6), (2, 3))
    assert [x.shape[1:] for x in backbone.output.values()] == [
        (*side, count) for side, count in zip(sides, channels, strict=True)
    ]
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    images = random.uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    prepared = images / 127.5 - 1 if architecture == "mobilenet_v2" else images
    expected = keras.Model(network.input, network.get_layer(last).output)(prepared)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(backbone(images)["P5"] / scale, expected / scale, atol=1e-4)
