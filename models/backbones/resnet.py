"""The ResNets of Keras applications."""

import keras

from harmonic_tf.models.backbones.applications import (
    read_application,
    subtract_mean,
    with_own_layers,
)
from harmonic_tf.models.backbones.levels import LEVELS


def resnet(application, blocks):
    """A Keras ResNet behind its own preprocessing; `blocks` are the last block of each level."""

    def features(images):
        network = getattr(keras.applications, application)(
            include_top=False, weights=None, input_shape=images.shape[1:]
        )
        network = with_own_layers(network, subtract_mean(images))
        return {
            level: network.get_layer(f"conv{i + 2}_block{block}_out").output
            for i, (level, block) in enumerate(zip(LEVELS, blocks, strict=True))
        }

    return features


def resnet_weights(application):
    """What loads the weights of a Keras ResNet into a network with its `resnet`."""

    def load(network, weights):
        source = read_application(application, weights, include_top=False)
        for layer in source.layers:
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())

    return load
