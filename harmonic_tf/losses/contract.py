"""Checks and unpacks what a loss or metric is given."""

from typing import Any, NamedTuple

import keras
from keras import ops

from harmonic_tf.adapters import unpack
from harmonic_tf.layouts import MIXED, fitting_layouts, layout_of
from harmonic_tf.losses.checks import look_like_probabilities, on_trial, refuse, warn_once
from harmonic_tf.ops import Settings

# What "auto" means where no detector says otherwise.
AUTO = {
    "classification": "softmax",
    "box_variance": (0.1, 0.1, 0.2, 0.2),
    "negative_ratio": None,
    "box_loss": "smooth_l1",
}
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


class Contract:
    """How one loss or metric reads what it is given.

    Args:
        arguments: dict. Fields of `harmonic_tf.ops.Settings` as the user gave them, and `layout`:
            what is `"auto"` is the layout's, or else `AUTO`'s.

    Attributes:
        settings: `harmonic_tf.ops.Settings`.
        layout: `harmonic_tf.Layout` or None.

    Raises:
        ValueError: if `classification` was set, and otherwise than the layout has it.
    """

    def __init__(self, **arguments):
        self.layout = layout_of(arguments.pop("layout"))
        chosen = {k: AUTO[k] if is_auto(v) else v for k, v in arguments.items()}
        if self.layout is not None:
            form = self.layout.classification
            if arguments["classification"] not in ("auto", form):
                raise ValueError(
                    f'`classification` must be "auto" or {form!r}, which the layout has '
                    f"(background={self.layout.background!r}). "
                    f"Received: {arguments['classification']!r}"
                )
            self._coder = self.layout.coder(chosen["box_variance"])
            chosen.update(
                classification=form,
                box_variance=self._coder.variance,
                box_coding=self._coder.loss_coding,
                from_logits=self.layout.from_logits,
                background=self.layout.background or "last",
            )
        self.settings = Settings(**chosen)
        self._said = []
        self._read_before = False

    def tensors(self, y_true, y_pred, dtype):
        """What of targets and predictions is read, as tensors of a dtype."""
        if self.layout is not None:
            y_true = self.layout.keep(y_true, self.layout.target_keys)
            y_pred = self.layout.keep(y_pred, self.layout.prediction_keys)
        return tuple(
            keras.tree.map_structure(lambda x: ops.convert_to_tensor(x, dtype=dtype), y)
            for y in (y_true, y_pred)
        )

    def rows(self, y_true, y_pred):
        """The four tensors of the contract, checked.

        Args:
            y_true: dictionary or packed tensor of targets.
            y_pred: dictionary or packed tensor of predictions.

        Raises:
            ValueError: if a key is missing, a shape does not fit, or (see
                `harmonic_tf.losses.checks`) a class has no column.
        """
        if self.layout is None:
            y_true, y_pred = _dictionaries(y_true, y_pred)
            rows = Rows(
                logits=y_pred["classification"],
                box_pred=y_pred["box"],
                classes=y_true["classification"],
                box_true=y_true["box"],
            )
        else:
            rows = Rows(*self._through_layout(y_true, y_pred))
        _check_shapes(rows, self.settings.classification)
        if on_trial():
            return rows
        first, self._read_before = not self._read_before, True
        _check_classes(rows, self.settings, first)
        if self.settings.from_logits:
            self._warn_of_probabilities(rows.logits, first)
        return rows

    def _through_layout(self, y_true, y_pred):
        try:
            return self.layout.read(y_true, y_pred, self._coder)
        except ValueError as error:
            raise ValueError(f"{error}{_hint(y_true, y_pred)}") from None

    def _warn_of_probabilities(self, scores, first):
        softmax = self.settings.classification == "softmax"
        form = "softmax" if softmax else "sigmoid"
        warn_once(
            look_like_probabilities(scores, softmax),
            f"The class scores look as if {form} had been applied (all lie in [0, 1]"
            f"{' and rows sum to 1' if softmax else ''}), but are read as logits: drop the "
            "activation, or say layout=harmonic_tf.Layout(from_logits=False, ...).",
            self._said,
            first,
        )


def is_auto(value):
    return isinstance(value, str) and value == "auto"


def _dictionaries(y_true, y_pred):
    found = []
    for name, value in (("y_true", y_true), ("y_pred", y_pred)):
        if isinstance(value, dict):
            missing = {"box", "classification"} - set(value)
            if missing:
                raise ValueError(
                    f"`{name}` must be {_EXPECTED}. "
                    f"Received a dictionary with the keys {sorted(value)}."
                )
            found.append(value)
            continue
        shape, target = tuple(value.shape), name == "y_true"
        if len(shape) != 3 or shape[-1] is None or (shape[-1] != 5 if target else shape[-1] < 5):
            raise ValueError(
                f"`{name}` must be {_EXPECTED}. Received a tensor of shape {shape}."
                + (
                    _hint(y_true, y_pred)
                    or " (Keras applies a loss to each output of a model by itself: let the model "
                    "have one output, `harmonic_tf.pack({...})`.)"
                )
            )
        found.append(unpack(value, target=target))
    return found


def _hint(y_true, y_pred):
    """Which known layouts would fit two packed tensors; an empty string if none."""
    if isinstance(y_true, dict) or isinstance(y_pred, dict):
        return ""
    columns = y_true.shape[-1], y_pred.shape[-1]
    if None in columns:
        return ""
    fitting = fitting_layouts(*columns)
    if not fitting:
        return ""
    names = " or ".join(f'layout="{name}"' for name in fitting)
    return f" {next(iter(fitting.values()))} look like {names}."


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


def _check_classes(rows, settings, first):
    classes, columns = rows.classes, rows.logits.shape[-1]
    softmax = settings.classification == "softmax"
    count = columns - softmax
    read_as = f"{count} classes and the background" if softmax else f"{count} classes"
    remedy = (
        f'is the background column missing (classification="focal" reads {columns} classes)?'
        if softmax
        else "are there more classes than columns?"
    )

    def cause(value):
        if value < count:
            return ""
        return (
            f"The {columns} columns of class scores are read as {read_as} "
            f"({settings.classification} form): are classes counted from 1, or {remedy}"
        )

    wrong = ops.logical_or(
        ops.logical_or(classes >= count, classes < -2), ops.not_equal(classes, ops.floor(classes))
    )
    refuse(
        wrong,
        classes,
        f"Class indices must be whole numbers below {count} (the number of classes in `y_pred`), "
        f"-1 for background, -2 for ignored; {MIXED} is a one-hot row without one entry over 0.5.",
        cause,
        first,
    )
