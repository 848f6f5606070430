"""Where the pixels and boxes of an image go in the network's input: numbers only.

Leading dimensions `...` are those of a batch, or none. Windows and sizes are in the order (y, x),
as images are stored; boxes are (x1, y1, x2, y2).
"""

from typing import NamedTuple

import tensorflow as tf

RESIZE_MODES = ("stretch", "letterbox")
# A JPEG decoder can divide an image's sides by these, in less time than decoding it whole takes.
JPEG_RATIOS = (2, 4, 8)


class Placement(NamedTuple):
    """Which pixels go where: network = original * scale + offset.

    Attributes:
        level: int32 `(...)`. How often the decoder halves the image's sides.
        source: int32 `(..., 4)`. Shown part (y1, x1, y2, x2), in pixels of the decoded image.
        target: int32 `(..., 4)`. Where that goes in the network's input, in its pixels.
        scale: float32 `(..., 2)`, (y, x).
        offset: float32 `(..., 2)`, (y, x), pixels of the network's input.
    """

    level: tf.Tensor
    source: tf.Tensor
    target: tf.Tensor
    scale: tf.Tensor
    offset: tf.Tensor


def place(window, size, is_jpeg, image_size: tuple[int, int], resize: str) -> Placement:
    """How a window onto an image is laid into the network's input.

    A JPEG image that shrinks to a half or less is decoded at a half, a quarter or an eighth of
    its size, which averages its pixels and saves time. Source and target are whole pixels, and
    scale and offset follow from these, so that boxes go exactly where the pixels go.

    Args:
        window: float32 `(..., 4)`. (y1, x1, y2, x2) in pixels of the image; may reach beyond it.
        size: int32 `(..., 2)`. The image's height and width.
        is_jpeg: bool `(...)`.
        image_size: (int, int). Height and width of the network's input.
        resize: str. "stretch" fills the input, each axis with its own scale; "letterbox" keeps
            the aspect ratio and centres the window.

    Returns:
        Placement.
    """
    network = tf.constant(image_size, tf.float32)
    level = _decoder_level(network / (window[..., 2:] - window[..., :2]), is_jpeg, resize)
    ratio = tf.cast(tf.bitwise.left_shift(1, level), tf.float32)[..., None]
    limit = tf.math.ceil(tf.cast(size, tf.float32) / ratio)
    low, high = tf.round(window[..., :2] / ratio), tf.round(window[..., 2:] / ratio)
    scale = _uniform(network / (high - low), resize)
    margin = tf.floor((network - scale * (high - low)) / 2)
    start = tf.clip_by_value(low, 0.0, limit - 1)
    stop = tf.clip_by_value(high, start + 1, limit)
    target_start = tf.clip_by_value(tf.round((start - low) * scale + margin), 0.0, network - 1)
    target_stop = tf.round((stop - low) * scale + margin)
    target_stop = tf.clip_by_value(target_stop, target_start + 1, network)
    scale = (target_stop - target_start) / (stop - start)
    return Placement(
        level=level,
        source=tf.cast(tf.concat([start, stop], axis=-1), tf.int32),
        target=tf.cast(tf.concat([target_start, target_stop], axis=-1), tf.int32),
        scale=scale / ratio,
        offset=target_start - start * scale,
    )


def _uniform(scale, resize: str):
    """Letterbox scales both axes by the smaller of the two scales."""
    if resize == "stretch":
        return scale
    return tf.broadcast_to(tf.reduce_min(scale, axis=-1, keepdims=True), tf.shape(scale))


def _decoder_level(scale, is_jpeg, resize: str):
    shrinks_by = 1 / tf.reduce_max(_uniform(scale, resize), axis=-1, keepdims=True)
    halvings = tf.cast(shrinks_by >= tf.constant(JPEG_RATIOS, tf.float32), tf.int32)
    return tf.where(is_jpeg, tf.reduce_sum(halvings, axis=-1), 0)


def move_boxes(boxes, scale, offset):
    """Boxes of images `(..., N, 4)` in pixels of the network's input.

    Args:
        boxes: float32 `(..., N, 4)`.
        scale: float32 `(..., 2)`, (y, x).
        offset: float32 `(..., 2)`, (y, x).

    Returns:
        float32 `(..., N, 4)`.
    """
    scale = tf.gather(scale, [1, 0, 1, 0], axis=-1)
    offset = tf.gather(offset, [1, 0, 1, 0], axis=-1)
    return boxes * scale[..., None, :] + offset[..., None, :]


def move_back(boxes, scale, offset):
    """Undoes `move_boxes`: from pixels of the network's input to those of the image."""
    return move_boxes(boxes, 1 / scale, -offset / scale)


def place_boxes(boxes, classes, placement: Placement):
    """The objects that a placement still shows, in pixels of the network's input.

    An object stays if its centre is shown; its box is cut where the image is, and dropped if
    less than a pixel of it is left.

    Args:
        boxes: float32 `(..., M, 4)`, pixels of the image.
        classes: float32 `(..., M)`, -1 for padding.
        placement: Placement.

    Returns:
        tuple `(boxes, classes, numbers)`: those that stay, of the same shapes, and int32
        `(..., M)`, the place that each had before; padded with -1.
    """
    boxes = move_boxes(boxes, placement.scale, placement.offset)
    shown = tf.cast(tf.gather(placement.target, [1, 0, 3, 2], axis=-1), tf.float32)[..., None, :]
    low, high = shown[..., :2], shown[..., 2:]
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    corners = (
        tf.clip_by_value(boxes[..., :2], low, high),
        tf.clip_by_value(boxes[..., 2:], low, high),
    )
    stays = (
        (classes >= 0)
        & tf.reduce_all((centres >= low) & (centres <= high), axis=-1)
        & tf.reduce_all(corners[1] - corners[0] >= 1.0, axis=-1)
    )
    numbers = tf.zeros_like(classes, tf.int32) + tf.range(tf.shape(classes)[-1])
    return keep_objects(stays, tf.concat(corners, axis=-1), classes, numbers)


def keep_objects(stays, *fields):
    """Moves the objects that stay to the front, in their order, and pads the rest with -1.

    Args:
        stays: bool `(..., M)`.
        *fields: what is known of each object, `(..., M)` or `(..., M, K)`.

    Returns:
        tuple of the fields, of the same shapes.
    """
    order = tf.argsort(tf.cast(~stays, tf.int32), axis=-1, stable=True)
    depth = order.shape.rank - 1

    def kept(field):
        own = stays if field.shape.rank == stays.shape.rank else stays[..., None]
        padded = tf.where(own, field, tf.cast(-1, field.dtype))
        return tf.gather(padded, order, axis=depth, batch_dims=depth)

    return tuple(kept(field) for field in fields)


def mirror_boxes(boxes, classes, width: int):
    """Boxes `(..., M, 4)` of images that are flipped left to right; padding stays -1."""
    x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    return tf.where(classes[..., None] >= 0, mirrored, -1.0)
