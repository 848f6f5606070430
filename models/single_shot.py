"""What SSD, DSSD and RefineDet share: anchors on the cells of the maps that they predict from."""

import keras
from keras import layers

from harmonic_tf.models.anchors import grid_anchors, spaced_anchors
from harmonic_tf.models.backbones import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.convolution import Conv2D, SeparableConv2D
from harmonic_tf.models.matching import Matching
from harmonic_tf.models.schedules import SINGLE_SHOT

MATCHING = Matching(positive=0.5, negative=0.5, force=True)
# Hard-negative mining: so many negatives a positive.
NEGATIVE_RATIO = 3.0


class SingleShot(Detector):
    """A detector with anchors on the cells of several feature maps.

    Softmax over the classes and the background; hard-negative mining, 3 negatives a positive, is
    the loss's (`model.loss_settings`). A subclass builds the network: from images, by
    `backbone_maps`, to feature maps, and by `predict_rows` to predictions.

    Its arguments are those of `Detector`.
    """

    def __init__(self, *args, score_threshold=0.01, nms_threshold=0.45, **settings):
        super().__init__(
            *args, score_threshold=score_threshold, nms_threshold=nms_threshold, **settings
        )


def preset(backbone, image_size, training=SINGLE_SHOT, **settings):
    """A `Preset` with these arguments of the detector."""
    return Preset(backbone, image_size, settings, training)


def as_shapes(anchor_shapes):
    """Anchor shapes, as a user or a file gives them, in nested tuples."""
    return tuple(tuple(map(tuple, shapes)) for shapes in anchor_shapes)


def backbone_maps(backbone, levels):
    """A new input, and the backbone's feature maps of it by level."""
    images = keras.Input(backbone.input_shape[1:], name="images")
    return images, pyramid_features(backbone, levels)(images)


def cell_anchors(images, maps, anchor_shapes, steps=None):
    """A function from (height, width) to the anchors on the cells of a network's maps.

    Args:
        images: the network's input.
        maps: list of its feature maps with anchors, finest first.
        anchor_shapes: for each map its anchors' (width, height) in pixels.
        steps: for each map the pixels between its anchors' centres, the first half of them from the
            border; None for the image's side over the map's.
    """
    expected, sizes = tuple(images.shape[1:3]), [tuple(x.shape[1:3]) for x in maps]

    def anchors(image_size):
        if tuple(image_size) != expected:
            raise ValueError(
                f"This detector takes images of {expected} (height, width) pixels. "
                f"Received: {tuple(image_size)}"
            )
        if steps is None:
            return grid_anchors(image_size, sizes, anchor_shapes)
        return spaced_anchors(sizes, steps, anchor_shapes)

    return anchors


def add_levels(maps, count, filters, last_padding="same"):
    """SSD's extra feature layers: each a 1x1 convolution, then a 3x3 one of stride 2.

    Args:
        maps: list of feature maps, finest first.
        count: int. How many coarser maps to add.
        filters: int. Their channels; the 1x1 convolution has half of them.
        last_padding: `"same"` or `"valid"`: padding of the last one. From 3 x 3 cells to 1 it is
            `"valid"`.

    Returns:
        List of all maps.
    """
    maps = list(maps)
    for i in range(count):
        padding = last_padding if i == count - 1 else "same"
        x = convolution(maps[-1], filters // 2, 1, activation="relu", name=f"extra_{i}_squeeze")
        x = convolution(
            x, filters, strides=2, padding=padding, activation="relu", name=f"extra_{i}"
        )
        maps.append(x)
    return maps


def predict_rows(maps, anchor_shapes, columns, separable=False):
    """The prediction heads: one 3x3 convolution for each map and output.

    Args:
        maps: list of feature maps `(B, H, W, F)`, finest first.
        anchor_shapes: for each map its anchors.
        columns: dictionary from the name of an output to its numbers an anchor.
        separable: bool. Whether the convolutions are separable ones.

    Returns:
        Dictionary of float32 `(B, A, numbers)`, in the order of `grid_anchors`.
    """
    kind = SeparableConv2D if separable else Conv2D
    outputs = {key: [] for key in columns}
    for i, (x, shapes) in enumerate(zip(maps, anchor_shapes, strict=True)):
        for key, size in columns.items():
            name = f"{key}_{i}"
            rows = kind(len(shapes) * size, 3, padding="same", name=name)(x)
            outputs[key].append(layers.Reshape((-1, size), name=f"{name}_rows")(rows))
    return {
        key: layers.Concatenate(axis=1, dtype="float32", name=key)(rows)
        for key, rows in outputs.items()
    }


def convolution(x, filters, size=3, name=None, **settings):
    """A convolution, He-initialised as those before a ReLU want it."""
    settings = {"padding": "same", "kernel_initializer": "he_normal", **settings}
    return Conv2D(filters, size, name=name, **settings)(x)


def deconvolution(x, like, filters, name):
    """A learned upsampling by 2 to the size of the finer map `like`, odd sizes included."""
    height, width = like.shape[1:3]
    size = 2 if height <= 2 * x.shape[1] and width <= 2 * x.shape[2] else 3
    x = layers.Conv2DTranspose(
        filters, size, strides=2, kernel_initializer="he_normal", name=f"{name}_deconvolution"
    )(x)
    surplus = ((0, x.shape[1] - height), (0, x.shape[2] - width))
    return layers.Cropping2D(surplus, name=f"{name}_cropping")(x)
