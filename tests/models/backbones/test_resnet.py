"""Networks of Keras applications with our layers are those networks."""

import keras
import numpy as np

from harmonic_tf.models.backbones.applications import with_own_layers
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.normalization import BatchNormalization


def test_own_layers_take_the_place_of_keras_s():
    images = keras.Input((64, 64, 3))
    network = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    other = with_own_layers(network, images)
    assert [layer.name for layer in other.layers[1:]] == [x.name for x in network.layers[1:]]
    kinds = {type(layer) for layer in other.layers}
    assert {BatchNormalization, Conv2D} <= kinds
    assert not {keras.layers.BatchNormalization, keras.layers.Conv2D} & kinds
    other.set_weights(network.get_weights())
    x = np.random.default_rng(0).normal(2, 3, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(other(x), network(x), rtol=1e-4, atol=1e-5)
