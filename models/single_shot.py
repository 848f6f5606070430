"""What SSD, DSSD and RefineDet share: anchors on the cells of the maps that they predict from."""

import keras
from keras import layers

from harmonic_tf.models.anchors import grid_anchors
from harmonic_tf.models.backbones.backbone import pyramid_features
from harmonic_tf.models.detector import Detector, Preset
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.schedules import SINGLE_SHOT


class SingleShot(Detector, keras.Model):
    """A detector with anchors on the cells of several feature maps.

    Softmax over the classes and the background; hard-negative mining, 3 negatives a positive, is
    the loss's (`model.loss_settings`). A subclass builds the network: from images, by
    `backbone_maps`, to feature maps, and by `predict_rows` to predictions.

    Args:
        images: the network's input.
        maps: list of its feature maps with anchors, finest first.
        outputs: dictionary of its predictions.
        backbone: `harmonic_tf.models.PyramidBackbone`, or a KerasCV or KerasHub backbone, with a
            fixed input size.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        anchor_shapes: for each map its anchors' (width, height) in pixels.
        levels: the backbone's levels that are used, finest first.
        score_threshold: float. Detections must score higher.
        nms_threshold: float. IoU above which the lower-scored of two boxes of a class is dropped.
        max_detections: int. Detections kept an image.
        name: string.
    """

    classification = "softmax"
    negative_ratio = 3.0

    def __init__(
        self,
        images,
        maps,
        outputs,
        *,
        backbone,
        num_classes,
        bounding_box_format,
        anchor_shapes,
        levels,
        score_threshold=0.01,
        nms_threshold=0.45,
        max_detections=100,
        name=None,
    ):
        super().__init__(inputs=images, outputs=outputs, name=name)
        self.backbone = backbone
        self.anchor_shapes = anchor_shapes
        self.levels = tuple(levels)
        self._map_sizes = [tuple(x.shape[1:3]) for x in maps]
        self._set_up(
            num_classes,
            bounding_box_format,
            matching={"positive_threshold": 0.5, "negative_threshold": 0.5, "force": True},
            decoding={
                "score_threshold": score_threshold,
                "iou_threshold": nms_threshold,
                "max_detections": max_detections,
            },
        )

    def anchors(self, image_size):
        if tuple(image_size) != self.image_size:
            raise ValueError(
                f"This {type(self).__name__} takes images of {self.image_size} (height, width) "
                f"pixels. Received: {tuple(image_size)}"
            )
        return grid_anchors(image_size, self._map_sizes, self.anchor_shapes)

    def get_config(self):
        own = {"anchor_shapes": self.anchor_shapes, "levels": self.levels}
        return {**super().get_config(), **own}


def preset(backbone, image_size, training=SINGLE_SHOT, **settings):
    """A `Preset` whose settings do not depend on the number of classes."""
    return Preset(backbone, image_size, lambda num_classes: settings, training)


def as_shapes(anchor_shapes):
    """Anchor shapes, as a user or a file gives them, in nested tuples."""
    return tuple(tuple(map(tuple, shapes)) for shapes in anchor_shapes)


def backbone_maps(backbone, levels):
    """A new input, and the backbone's feature maps of it by level."""
    images = keras.Input(backbone.input_shape[1:], name="images")
    return images, pyramid_features(backbone, levels)(images)


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


def predict_rows(maps, anchor_shapes, columns):
    """The prediction heads: one 3x3 convolution for each map and output.

    Args:
        maps: list of feature maps `(B, H, W, F)`, finest first.
        anchor_shapes: for each map its anchors.
        columns: dictionary from the name of an output to its numbers an anchor.

    Returns:
        Dictionary of float32 `(B, A, numbers)`, in the order of `grid_anchors`.
    """
    outputs = {key: [] for key in columns}
    for i, (x, shapes) in enumerate(zip(maps, anchor_shapes, strict=True)):
        for key, size in columns.items():
            rows = Conv2D(len(shapes) * size, 3, padding="same", name=f"{key}_{i}")(x)
            outputs[key].append(layers.Reshape((-1, size), name=f"{key}_{i}_rows")(rows))
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
