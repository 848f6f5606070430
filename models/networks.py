"""The tiny network of ours, and the ResNets of Keras applications.

A network is a function from pictures, `(B, H, W, 3)` with values 0 to 255, RGB, to a dictionary of
its pyramid levels, all Keras tensors. What prepares the pictures is part of the network.
"""

import keras
from keras import layers

from harmonic_tf.models.convolution import Conv2D
from harmonic_tf.models.normalization import BatchNormalization

LEVELS = ("P2", "P3", "P4", "P5")


def tiny(images):
    """A residual network of 0.8 million parameters; P3 has 64 channels, P5 160."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(images)
    x = _convolution(x, 16, strides=2, name="stem")
    levels = {"P2": _convolution(x, 32, strides=2, name="P2")}
    x = levels["P2"]
    for level, filters, blocks in zip(LEVELS[1:], (64, 96, 160), (2, 2, 1), strict=True):
        for block in range(blocks):
            x = _residual(x, filters, strides=1 if block else 2, name=f"{level}_block{block}")
        levels[level] = x
    return levels


def _residual(x, filters, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        if strides > 1:
            shortcut = layers.AveragePooling2D(strides, padding="same", name=f"{name}_pool")(x)
        shortcut = _convolution(shortcut, filters, size=1, relu=False, name=f"{name}_shortcut")
    x = _convolution(x, filters, strides=strides, name=f"{name}_1")
    x = _convolution(x, filters, relu=False, name=f"{name}_2")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x, filters, size=3, strides=1, relu=True, name=None):
    x = Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


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


def with_own_layers(network, inputs):
    """A copy of a functional model on other inputs, with our layers for those of Keras."""
    own = {
        keras.layers.BatchNormalization: BatchNormalization,
        keras.layers.Conv2D: Conv2D,
    }

    def replace(layer):
        return own.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(network, input_tensors=inputs, clone_function=replace)


def resnet_weights(application):
    """What loads the weights of a Keras ResNet into a network with its `resnet`."""

    def load(network, weights):
        source = read_application(application, weights, include_top=False)
        for layer in source.layers:
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())

    return load


def subtract_mean(images):
    """BGR less the mean of ImageNet: what Keras prepares pictures for its ResNets and VGGs by."""
    return layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="rescaling")(
        keras.ops.flip(images, axis=-1)
    )


def read_application(application, weights, include_top):
    """A network of Keras applications with its weights.

    Args:
        application: string such as `"ResNet50"`.
        weights: `"imagenet"`, or the path of a weights file.
        include_top: bool. Whether the network, and the file, has its classifier.

    Raises:
        ValueError: if the weights cannot be read or downloaded.
    """
    try:
        return getattr(keras.applications, application)(include_top=include_top, weights=weights)
    except Exception as error:
        advice = (
            "Check the network, or download the file elsewhere and give its path as `weights`."
            if weights == "imagenet"
            else "Expected a weights file of this Keras application "
            f"{'with' if include_top else 'without'} its top."
        )
        raise ValueError(
            f"Could not load the weights {weights!r} of {application}: {error} {advice}"
        ) from error
