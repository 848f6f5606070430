"""Box geometry that the losses, the matchers and the decoders share."""

from keras import ops

# exp(16) is nine million anchor sizes: far beyond any box, and its square is a finite float32.
MAX_LOG_SIZE = 16.0


def edges(centre, log_size, largest=MAX_LOG_SIZE):
    """Edges of boxes given by their centre and the logarithm of their size.

    With deltas times their variance it decodes on the unit anchor (centre 0, size 1). IoU does not
    change when both boxes are shifted and scaled per axis, so two boxes given as deltas of the same
    anchor have the IoU of their decodings on this one, whatever the anchor was.

    Args:
        centre: tensor of any shape.
        log_size: tensor of the same shape.
        largest: float. Larger logarithms count as this one.

    Returns:
        `(low, high, size)`, each of that shape.
    """
    size = ops.exp(ops.clip(log_size, -MAX_LOG_SIZE, largest))
    return centre - size / 2, centre + size / 2, size


def encode(boxes, anchors, variance):
    """Expresses boxes as deltas of anchors: what a detector learns to predict.

    The axes come in the order y, x, as KerasCV has them. A box or anchor without width or height
    counts as one of a ten-thousandth of a pixel.

    Args:
        boxes: float tensor `(..., 4)`, x1, y1, x2, y2 in pixels.
        anchors: float tensor that broadcasts with it, of the same format.
        variance: 4 floats that the deltas are divided by.

    Returns:
        Tensor `(..., 4)`: centre y and x in anchor sizes, log ratios of height and width.

    Example:

    >>> box, anchor = ops.array([0.0, 0.0, 20.0, 10.0]), ops.array([0.0, 0.0, 10.0, 10.0])
    >>> ops.convert_to_numpy(encode(box, anchor, (1, 1, 1, 1)))
    array([0.       , 0.5      , 0.       , 0.6931472], dtype=float32)
    """
    centre, size = _centre_and_size(boxes)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    deltas = [(centre - anchor_centre) / anchor_size, ops.log(size / anchor_size)]
    return ops.concatenate(deltas, axis=-1) / ops.convert_to_tensor(variance, boxes.dtype)


def decode(deltas, anchors, variance, largest=MAX_LOG_SIZE):
    """Undoes `encode`.

    Args:
        deltas: float tensor `(..., 4)`.
        anchors: float tensor that broadcasts with it, x1, y1, x2, y2 in pixels.
        variance: 4 floats, as in the encoding.
        largest: float. Larger log ratios of sizes count as this one.

    Returns:
        Tensor `(..., 4)`, x1, y1, x2, y2 in pixels.
    """
    anchor_centre, anchor_size = _centre_and_size(anchors)
    scaled = deltas * ops.convert_to_tensor(variance, deltas.dtype)
    low, high, _ = edges(scaled[..., :2], scaled[..., 2:], largest)
    low, high = (anchor_centre + edge * anchor_size for edge in (low, high))
    return ops.concatenate([ops.flip(low, axis=-1), ops.flip(high, axis=-1)], axis=-1)


def iou(boxes_1, boxes_2):
    """Intersection over union of aligned pairs; 0 where both boxes are empty.

    Args:
        boxes_1: float tensor `(..., 4)` as x1, y1, x2, y2. An inverted box counts as empty.
        boxes_2: float tensor that broadcasts with it.

    Returns:
        Tensor `(...)` in [0, 1].

    Example:

    >>> float(iou(ops.array([0.0, 0.0, 2.0, 2.0]), ops.array([1.0, 0.0, 3.0, 2.0])))
    0.3333333432674408
    """
    width, height = (
        ops.maximum(
            ops.minimum(boxes_1[..., high], boxes_2[..., high])
            - ops.maximum(boxes_1[..., low], boxes_2[..., low]),
            0,
        )
        for low, high in ((0, 2), (1, 3))
    )
    inter = width * height
    union = _area(boxes_1) + _area(boxes_2) - inter
    return inter / ops.where(union > 0, union, ops.ones_like(union))


def clip(boxes, image_size):
    """Cuts boxes `(..., 4)`, x1, y1, x2, y2, at the border of an image of (height, width)."""
    height, width = image_size
    return ops.clip(boxes, 0.0, ops.array([width, height, width, height], boxes.dtype))


def has_area(boxes):
    """Which boxes `(..., 4)`, x1, y1, x2, y2, have width and height; not padding, nor inverted."""
    return ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def _centre_and_size(boxes):
    """Centre and size `(..., 2)` in the order y, x."""
    low, high = ops.flip(boxes[..., :2], axis=-1), ops.flip(boxes[..., 2:], axis=-1)
    return (low + high) / 2, ops.maximum(high - low, 1e-4)


def _area(boxes):
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]
