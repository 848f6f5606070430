"""The objects of a batch as users give them, in the one form that detectors learn from."""

import keras
from keras import ops

_EXPECTED = 'Ground truth must be {"boxes": (B, M, 4), "classes": (B, M)}, padded with -1.'


def read_ground_truth(y, bounding_box_format, image_size):
    """Boxes in x1, y1, x2, y2 pixels, padded with -1.

    Args:
        y: `{"boxes": (B, M, 4), "classes": (B, M)}` (KerasCV's) or `{"boxes", "labels"}` (Keras's
            and KerasHub's), padded with -1, or ragged; and optionally `"masks"` `(B, M, S, S)`.
        bounding_box_format: Keras's name of the boxes' format.
        image_size: (height, width) in pixels.

    Returns:
        `{"boxes": (B, M, 4), "classes": (B, M)}` and `"masks"` if there are any, float32.

    Raises:
        ValueError: if it is of another form.
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
    truth = {
        "boxes": convert_boxes(boxes, bounding_box_format, "xyxy", image_size),
        "classes": classes,
    }
    if "masks" in y:
        truth["masks"] = _padded(y["masks"])
    return truth


def read_sample_weight(sample_weight):
    """Weights `(B,)` of images, or None; Keras gives each array of a dictionary of labels its own.

    Args:
        sample_weight: None, `(B,)`, or a dictionary of weights, one for each array of the labels.
    """
    if isinstance(sample_weight, dict):
        sample_weight = next(iter(sample_weight.values()))
    return sample_weight


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
