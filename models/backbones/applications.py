"""Networks of Keras applications: what prepares their images, their weights, our layers in them."""

import keras
from keras import layers

from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.normalization import BatchNormalization


def with_own_layers(network, inputs):
    """A copy of a functional model on other inputs, with our layers for those of Keras."""
    own = {
        keras.layers.BatchNormalization: BatchNormalization,
        keras.layers.Conv2D: Conv2D,
    }

    def replace(layer):
        return own.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(network, input_tensors=inputs, clone_function=replace)


def subtract_mean(images):
    """BGR less the mean of ImageNet: what Keras prepares images for its ResNets and VGGs by."""
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
