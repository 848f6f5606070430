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


def application(name, stages, prepare=lambda images: images):
    """What builds a Keras application's pyramid levels.

    Args:
        name: string such as `"ResNet50"`.
        stages: dictionary from level to what the names of its stage's layers begin with; the level
            is what the last of them gives.
        prepare: function from images, RGB with values 0 to 255, to what the application takes.

    Returns:
        A function from a Keras tensor of images to a dictionary of levels.
    """

    def features(images):
        network = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=images.shape[1:]
        )
        network = with_own_layers(network, prepare(images))
        outputs = {}
        for layer in network.layers:
            outputs |= {
                level: layer.output
                for level, stage in stages.items()
                if layer.name.startswith(stage)
            }
        return {level: outputs[level] for level in stages}

    return features


def application_weights(name):
    """What loads the weights of a Keras application into a network with its `application`."""

    def load(network, weights):
        source = read_application(name, weights, include_top=False)
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())

    return load


def read_application(name, weights, include_top):
    """A network of Keras applications with its weights.

    Args:
        name: string such as `"ResNet50"`.
        weights: `"imagenet"`, or the path of a weights file.
        include_top: bool. Whether the network, and the file, has its classifier.

    Raises:
        ValueError: if the weights cannot be read or downloaded.
    """
    try:
        return getattr(keras.applications, name)(
            include_top=include_top, weights=weights, input_shape=(224, 224, 3)
        )
    except Exception as error:
        advice = (
            "Check the network, or download the file elsewhere and give its path as `weights`."
            if weights == "imagenet"
            else "Expected a weights file of this Keras application "
            f"{'with' if include_top else 'without'} its top."
        )
        raise ValueError(
            f"Could not load the weights {weights!r} of {name}: {error} {advice}"
        ) from error
