"""The VGG-16 of SSD300 (Liu et al. 2016), with the layers that SSD adds."""

from keras import layers

from harmonic_tf.models.backbones.applications import read_application, subtract_mean
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.l2_normalization import L2Normalization

_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# Filters of the 1x1 and of the 3x3 convolution; the last two levels have no padding.
_EXTRA = {"P5": (256, 512, 2), "P6": (128, 256, 2), "P7": (128, 256, 1), "P8": (128, 256, 1)}
# P6 must be 5 cells wide, for two 3x3 convolutions without padding to leave one cell.
_SMALLEST = 257


def vgg16(images, prepare=subtract_mean):
    """P3, conv4_3 normalised, to P8; 38, 19, 10, 5, 3 and 1 cells wide for 300 pixels.

    Args:
        images: Keras tensor `(B, H, W, 3)`, values 0 to 255, RGB.
        prepare: function from images to what the first convolution takes.

    Raises:
        ValueError: if the images are too small for P8.
    """
    if any(side is not None and side < _SMALLEST for side in images.shape[1:3]):
        raise ValueError(
            f"vgg16 needs images of at least {_SMALLEST} by {_SMALLEST} pixels, for its last "
            f"level to have a cell. Received: image_size={tuple(images.shape[1:3])}"
        )
    x = prepare(images)
    levels = {}
    for block, (filters, depth) in enumerate(_BLOCKS, 1):
        for i in range(1, depth + 1):
            x = _convolution(x, filters, 3, name=f"block{block}_conv{i}")
        if block == 4:
            levels["P3"] = L2Normalization(scale=20.0, name="block4_norm")(x)
        size, strides = (3, 1) if block == 5 else (2, 2)
        # As in Caffe, a row or column that is left over makes a cell of its own.
        x = layers.MaxPooling2D(size, strides, padding="same", name=f"block{block}_pool")(x)
    x = _convolution(x, 1024, 3, dilation_rate=6, name="fc6")
    levels["P4"] = x = _convolution(x, 1024, 1, name="fc7")
    for level, (inner, filters, strides) in _EXTRA.items():
        x = _convolution(x, inner, 1, name=f"{level}_1")
        if strides > 1:
            x = layers.ZeroPadding2D(1, name=f"{level}_pad")(x)
        x = _convolution(x, filters, 3, strides=strides, padding="valid", name=f"{level}_2")
        levels[level] = x
    return levels


def vgg16_torchvision(images):
    """`vgg16` on RGB less the mean that torchvision's `ssd300_vgg16` subtracts."""
    offset = [-255 * mean for mean in (0.48235, 0.45882, 0.40784)]
    return vgg16(images, layers.Rescaling(1.0, offset, name="rescaling"))


def _convolution(x, filters, size, padding="same", **settings):
    return Conv2D(filters, size, padding=padding, activation="relu", **settings)(x)


def load_vgg16(network, weights):
    """Loads `keras.applications.VGG16`, its classifier included, into a network with `vgg16`.

    Args:
        network: a model with `vgg16`. What SSD adds keeps its weights.
        weights: `"imagenet"`, or the path of a weights file of that application with its top.

    Raises:
        ValueError: if the weights cannot be read or downloaded.
    """
    source = read_application("VGG16", weights, include_top=True)
    for block, (_, depth) in enumerate(_BLOCKS, 1):
        for i in range(1, depth + 1):
            name = f"block{block}_conv{i}"
            network.get_layer(name).set_weights(source.get_layer(name).get_weights())
    network.get_layer("fc6").set_weights(fc6_weights(*source.get_layer("fc1").get_weights()))
    network.get_layer("fc7").set_weights(fc7_weights(*source.get_layer("fc2").get_weights()))


def fc6_weights(kernel, bias):
    """A 3x3 convolution from a dense layer on 7x7 cells: each third of both axes, a quarter of all.

    Args:
        kernel: array `(49 * C, F)`.
        bias: array `(F,)`.

    Returns:
        Kernel `(3, 3, C, F / 4)` and bias `(F / 4,)`.
    """
    kernel = kernel.reshape(7, 7, -1, kernel.shape[-1])
    return [kernel[::3, ::3, :, ::4], bias[::4]]


def fc7_weights(kernel, bias):
    """A 1x1 convolution from a dense layer: a quarter of its inputs and of its outputs.

    Args:
        kernel: array `(F, G)`.
        bias: array `(G,)`.

    Returns:
        Kernel `(1, 1, F / 4, G / 4)` and bias `(G / 4,)`.
    """
    return [kernel[None, None, ::4, ::4], bias[::4]]
