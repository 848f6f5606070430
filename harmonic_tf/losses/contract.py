"""Checks and unpacks what a loss or metric is given."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from harmonic_tf.adapters import unpack

_EXPECTED = (
    'a dictionary with "box" (B, A, 4) and "classification", or one packed tensor: '
    "y_true (B, A, 5) and y_pred (B, A, 4 + C) for sigmoid logits, (B, A, 4 + C + 1) for softmax "
    "logits, background last"
)


class Rows(NamedTuple):
    logits: Any
    box_pred: Any
    classes: Any
    box_true: Any


def rows_of(y_true, y_pred, classification):
    """Returns the four tensors of the contract, checked.

    Args:
        y_true: dictionary or packed tensor of targets.
        y_pred: dictionary or packed tensor of predictions.
        classification: `"softmax"` or `"focal"`.

    Raises:
        ValueError: if a key is missing, a shape does not fit, or (where values can be read, that
            is, outside a compiled graph) a class index is not below the number of classes.
    """
    y_true, y_pred = _dictionary(y_true, "y_true"), _dictionary(y_pred, "y_pred")
    rows = Rows(
        logits=y_pred["classification"],
        box_pred=y_pred["box"],
        classes=y_true["classification"],
        box_true=y_true["box"],
    )
    _check_shapes(rows, classification)
    _check_classes(rows.classes, rows.logits.shape[-1] - (classification == "softmax"))
    return rows


def _dictionary(value, name):
    if isinstance(value, dict):
        missing = {"box", "classification"} - set(value)
        if missing:
            raise ValueError(
                f"`{name}` must be {_EXPECTED}. "
                f"Received a dictionary with the keys {sorted(value)}."
            )
        return value
    shape = tuple(value.shape)
    target = name == "y_true"
    if len(shape) != 3 or shape[-1] is None or (shape[-1] != 5 if target else shape[-1] < 5):
        raise ValueError(
            f"`{name}` must be {_EXPECTED}. Received a tensor of shape {shape}. "
            "(Keras applies a loss to each output of a model by itself: let the model have one "
            "output, `harmonic_tf.pack({...})`.)"
        )
    return unpack(value, target=target)


def _check_shapes(rows, classification):
    leading = tuple(rows.logits.shape[:-1])
    expected = {
        "box_pred": (*leading, 4),
        "box_true": (*leading, 4),
        "classes": leading,
    }
    names = {
        "box_pred": 'y_pred["box"]',
        "box_true": 'y_true["box"]',
        "classes": 'y_true["classification"]',
    }
    for field, shape in expected.items():
        received = tuple(getattr(rows, field).shape)
        if not _compatible(received, shape):
            raise ValueError(
                f"`{names[field]}` must have the shape {shape}, to go with "
                f'`y_pred["classification"]` of shape {tuple(rows.logits.shape)}. '
                f"Received: {received}"
            )
    least = 2 if classification == "softmax" else 1
    if rows.logits.shape[-1] < least:
        raise ValueError(
            f"{classification} logits need at least {least} columns (softmax form: C + 1, "
            f"background last). Received the shape {tuple(rows.logits.shape)}."
        )


def _compatible(received, expected):
    return len(received) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(received, expected, strict=True)
    )


def _check_classes(classes, class_count):
    values = _values_if_known(classes)
    if values is None or not values.size:
        return
    wrong = np.argwhere((values >= class_count) | (values < -2) | (values % 1 != 0))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"Class indices must be whole numbers below {class_count} (the number of classes in "
            f"`y_pred`), -1 for background, -2 for ignored. Received {values[where]} at {where}."
        )


def _values_if_known(tensor):
    """The tensor as NumPy, or None while a graph is traced or where it lies on a device."""
    device = getattr(tensor, "device", "")
    if "gpu" in str(device).lower() or "cuda" in str(device).lower():
        return None
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except Exception:  # every backend refuses a symbolic tensor in its own way
        return None
