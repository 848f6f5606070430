"""What the examples share: drawn rectangles, who learns them, and a few convolutions.

A project of your own has all of this already. What an example is about stands in its own file.
"""

import keras
import numpy as np
from keras import layers

IMAGE_SIZE = 64
CLASSES = 3  # red, green and blue


def draw(count=64, seed=0):
    """Images with a rectangle each, in the colour of its class.

    Returns:
        Images `(count, 64, 64, 3)` from 0 to 1, boxes `(count, 4)` as x1, y1, x2, y2 in pixels, and
        classes `(count,)` from 0 to 2.
    """
    rng = np.random.default_rng(seed)
    corners, sizes = rng.integers(0, 32, (count, 2)), rng.integers(14, 33, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=-1)
    classes = rng.integers(0, CLASSES, count)
    images = rng.uniform(0, 0.3, (count, IMAGE_SIZE, IMAGE_SIZE, 3)).astype("float32")
    for image, (x1, y1, x2, y2), colour in zip(images, boxes, classes, strict=True):
        image[y1:y2, x1:x2, colour] = 1
    return images, boxes.astype("float32"), classes


def anchor_grid(stride, *sides):
    """Squares of each side around the centre of every cell, `(A, 4)` as x1, y1, x2, y2."""
    middle = np.arange(0, IMAGE_SIZE, stride) + stride / 2
    y, x = np.meshgrid(middle, middle, indexing="ij")
    centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    halves = np.array(sides).reshape(-1, 1) / 2
    anchors = np.concatenate([centres - halves, centres + halves], axis=-1)
    return anchors.reshape(-1, 4).astype("float32")


def match(boxes, classes, anchors):
    """What each anchor learns, `(B, A)`: a class, -1 for background, -2 where it is ignored."""
    low = np.maximum(boxes[:, None, :2], anchors[:, :2])
    high = np.minimum(boxes[:, None, 2:], anchors[:, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=-1)
    areas, anchor_areas = (np.prod(b[:, 2:] - b[:, :2], axis=-1) for b in (boxes, anchors))
    iou = inter / (areas[:, None] + anchor_areas - inter)
    learns = (iou >= 0.5) | (iou == iou.max(axis=1, keepdims=True))
    return np.where(learns, classes[:, None], np.where(iou < 0.4, -1, -2))


def offsets(boxes, anchors, variance):
    """Centres in anchor sizes and log ratios of sizes, `(B, A, 4)` as x, y, width, height."""
    boxes = boxes[:, None]
    sizes, anchor_sizes = boxes[..., 2:] - boxes[..., :2], anchors[:, 2:] - anchors[:, :2]
    centres, anchor_centres = boxes[..., :2] + sizes / 2, anchors[:, :2] + anchor_sizes / 2
    moved, grown = (centres - anchor_centres) / anchor_sizes, np.log(sizes / anchor_sizes)
    return np.concatenate([moved, grown], axis=-1) / np.array(variance, "float32")


def one_hot(classes, columns):
    """Rows `(..., columns)` with a 1 at the class; zeros where it is not one of the columns."""
    return (classes[..., None] == np.arange(columns)).astype("float32")


def features(images):
    """A map of 8 x 8 cells: three strided convolutions."""
    x = images
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    return x


def predict_rows(x, anchors, width, bias=0.0):
    """`width` numbers for each of the anchors of a cell, `(B, cells * anchors, width)`."""
    bias = keras.initializers.Constant(bias)
    x = layers.Conv2D(anchors * width, 3, padding="same", bias_initializer=bias)(x)
    return layers.Reshape((-1, width))(x)


def training_data():
    """Images, and targets as the losses read them by default: offsets and class, `(B, A, 5)`."""
    images, boxes, classes = draw()
    anchors = anchor_grid(8, 16, 28)
    box_targets = offsets(boxes, anchors, variance=(0.1, 0.1, 0.2, 0.2))
    class_targets = match(boxes, classes, anchors)[..., None]
    return images, np.concatenate([box_targets, class_targets], axis=-1).astype("float32")


def small_detector():
    """A model that returns offsets and logits, the background last: `(B, A, 4 + C + 1)`."""
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    x = features(inputs)
    outputs = predict_rows(x, anchors=2, width=4), predict_rows(x, anchors=2, width=CLASSES + 1)
    return keras.Model(inputs, layers.Concatenate()(outputs))
