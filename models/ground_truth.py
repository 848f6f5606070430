"""The objects of a batch as users give them, in the one form that detectors learn from."""

import keras
from keras import ops

from harmonic_tf.losses.checks import refuse

_EXPECTED = 'Ground truth must be {"boxes": (B, M, 4), "classes": (B, M)}, padded with -1.'


def read_ground_truth(y, bounding_box_format, image_size, num_classes):
    """Boxes in x1, y1, x2, y2 pixels, padded with -1.

    Args:
        y: as for `read_objects`, and optionally `"masks"` `(B, M, S, S)`.
        bounding_box_format: Keras's name of the boxes' format.
        image_size: (height, width) in pixels.
        num_classes: int C.

    Returns:
        What `read_objects` returns, and `"masks"` if there are any, float32.

    Raises:
        ValueError: as `read_objects`.
    """
    truth = read_objects(y, bounding_box_format, image_size, num_classes)
    truth["boxes"] = convert_boxes(truth["boxes"], bounding_box_format, "xyxy", image_size)
    if "masks" in y:
        truth["masks"] = _padded(y["masks"])
    return truth


def read_objects(y, bounding_box_format, image_size, num_classes):
    """Boxes in the format that they have, and classes, padded with -1.

    Args:
        y: `{"boxes": (B, M, 4), "classes": (B, M)}` (KerasCV's) or `{"boxes", "labels"}` (Keras's
            and KerasHub's), padded with -1, or ragged.
        bounding_box_format: Keras's name of the boxes' format.
        image_size: (height, width) in pixels.
        num_classes: int C.

    Returns:
        `{"boxes": (B, M, 4), "classes": (B, M)}`, float32, and `"broken"`, bool: whether an object
        cannot be, where that could not be refused. It is left out, so that nothing crashes on it.

    Raises:
        ValueError: if it is of another form or, where values can be read, a box is not finite or
            inverted, or a class not a whole number below C; in a TensorFlow graph it is an
            `InvalidArgumentError`.
    """
    if not isinstance(y, dict):
        raise ValueError(f"{_EXPECTED} Received: {type(y).__name__}")
    classes = "classes" if "classes" in y else "labels"
    missing = {"boxes", classes} - set(y)
    if missing:
        raise ValueError(f"{_EXPECTED} Received a dictionary with the keys {sorted(y)}.")
    boxes, classes = _padded(y["boxes"]), _padded(y[classes])
    if len(boxes.shape) != 3 or len(classes.shape) != 2:
        raise ValueError(
            f"{_EXPECTED} Received boxes of shape {tuple(boxes.shape)} and classes of shape "
            f"{tuple(classes.shape)}."
        )
    corners = convert_boxes(boxes, bounding_box_format, "xyxy", image_size)
    wrong = _refuse_wrong(corners, classes, num_classes)
    exists = ops.logical_and(classes >= 0, ops.logical_not(wrong))
    return {
        "boxes": ops.where(exists[..., None], boxes, -1.0),
        "classes": ops.where(exists, classes, -1.0),
        "broken": ops.any(wrong),
    }


def _refuse_wrong(corners, classes, num_classes):
    """Which objects cannot be, bool `(B, M)`; refused where that can be read."""
    is_object = classes >= 0
    finite = ops.all(ops.isfinite(corners), axis=-1)
    sides = corners[..., 2:] - corners[..., :2]
    shorter_side = ops.minimum(sides[..., 0], sides[..., 1])
    broken = ops.logical_and(is_object, ops.logical_not(finite))
    inverted = ops.logical_and(is_object, shorter_side < 0)
    unknown = ops.logical_or(classes >= num_classes, ops.not_equal(classes, ops.floor(classes)))
    message = "Boxes of ground truth must be finite."
    refuse(broken, ops.sum(corners, axis=-1), message, on_device=False)
    message = "Boxes of ground truth must not be inverted: no side may be negative."
    refuse(inverted, shorter_side, message, on_device=False)
    message = f"Classes of ground truth must be whole numbers below {num_classes}"
    refuse(unknown, classes, f"{message}, the number of classes.", on_device=False)
    return ops.logical_or(ops.logical_or(broken, inverted), unknown)


def nan_if_broken(truth):
    """0, or NaN if an object cannot be: for the loss, where no value could be read."""
    return ops.where(truth["broken"], float("nan"), 0.0)


def read_sample_weight(sample_weight):
    """Weights `(B,)` of images, or None; Keras gives each array of the labels its own.

    Args:
        sample_weight: None, `(B,)`, or a list or dictionary of weights, one for each array of the
            labels.
    """
    return None if sample_weight is None else keras.tree.flatten(sample_weight)[0]


def convert_boxes(values, source, target, image_size):
    """Boxes `(..., 4)` of one of Keras's formats in another, in float32."""
    values = ops.cast(values, "float32")
    if source == target:
        return values
    height, width = image_size
    return keras.utils.bounding_boxes.convert_format(
        values, source, target, height=height, width=width
    )


def _padded(values):
    """A ragged tensor with -1 where it has nothing, as float32."""
    if hasattr(values, "to_tensor"):  # only TensorFlow has ragged tensors
        values = values.to_tensor(-1)
    return ops.cast(values, "float32")


def image_size_of(images):
    """(height, width) of images `(B, H, W, 3)`, or of KerasCV's dictionary of them."""
    images = images["images"] if isinstance(images, dict) else images
    height, width = images.shape[1:3]
    if height is None or width is None:
        raise ValueError(
            "The height and width of images must be known to place anchors. "
            f"Received images of shape {tuple(images.shape)}."
        )
    return height, width


def unpack_batch(data):
    """KerasCV's dictionary of a batch as the tuple that Keras expects."""
    if isinstance(data, dict) and "bounding_boxes" in data:
        return data["images"], data["bounding_boxes"]
    return data
