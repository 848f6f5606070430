"""The objective of every row as one differentiable operation with a hand-derived gradient."""

import functools
from typing import Any, NamedTuple

from keras import ops

from harmonic_tf.ops import classification
from harmonic_tf.ops.compilation import compiled
from harmonic_tf.ops.coupling import coupled_rows

BACKGROUND = -1
IGNORED = -2

_FORMS = {
    "softmax": (classification.softmax_rows, classification.softmax_gradient),
    "focal": (classification.focal_rows, classification.focal_gradient),
}


class Parts(NamedTuple):
    """The parts of every row's objective, `(B, A)` each.

    Attributes:
        total: the row's term of equation 13, before division by N: equation 12 for a positive,
            the classification loss for a negative, 0 for an ignored row. Carries the gradient.
        classification: CE, or the row's focal loss. 0 for an ignored row.
        localization: L_loc (11). This and all that follow are 0 outside the positives.
        contrastive: L_TC (8). 0 where the objective leaves it out.
        beta_r: exp(-L_loc) (3).
        beta_c: p, which is exp(-CE) in the softmax form (3, 5).
        p: predicted probability of the row's class.
        iou: IoU of the decoded prediction with its ground truth.
        positive: 1 for a positive, 0 for the others.
    """

    total: Any
    classification: Any
    localization: Any
    contrastive: Any
    beta_r: Any
    beta_c: Any
    p: Any
    iou: Any
    positive: Any


def zero_or_nan(values):
    """Sums the last axis to 0 if all numbers there are finite, to NaN otherwise.

    Added to a term that does not depend on `values`, or no longer does, it keeps a broken
    prediction visible. (A product with 0 would not: XLA takes it for 0.)
    """
    return ops.sum(values - values, axis=-1)


def objective_rows(logits, box_pred, classes, box_true, objective):
    """Equation 12 for the positives and the classification loss for the negatives, row by row.

    The gradient is derived by hand and computed in one pass over the logits, in whichever backend
    Keras runs on. The forward pass reads the logits once and keeps nothing of their size.

    Args:
        logits: float tensor `(B, A, K)`: K = C for `objective.classification == "focal"`, K = C + 1
            with the background last for `"softmax"`.
        box_pred: float tensor `(B, A, 4)`. Predicted deltas.
        classes: tensor `(B, A)`. Class index, -1 background, -2 ignored. A class that the logits
            have no column for gives NaN.
        box_true: float tensor `(B, A, 4)`. Target deltas; read for positives only.
        objective: `Objective`.

    Returns:
        `Parts`. Only `total` carries a gradient, to `logits` and `box_pred`. A NaN or an infinity
        anywhere in a row of `logits` or `box_pred` makes that row's `total` NaN.
    """
    forward, backward = _compiled(objective, logits.shape[-1])

    @ops.custom_gradient
    def stacked_parts(logits, box_pred, classes, box_true):
        rows, d_loss, d_p, d_box = forward(logits, box_pred, classes, box_true)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            d_logits, d_box_pred = backward(upstream[..., 0], logits, classes, d_loss, d_p, d_box)
            return d_logits, d_box_pred, None, None

        return rows, gradient

    rows = stacked_parts(logits, box_pred, ops.cast(classes, "int32"), box_true)
    parts = [rows[..., i] for i in range(len(Parts._fields))]
    return Parts(parts[0], *(ops.stop_gradient(part) for part in parts[1:]))


@functools.lru_cache(maxsize=None)
def _compiled(objective, columns):
    """The two passes; a pair for each number of columns, so that it is always a known number."""
    dense_rows, dense_gradient = _FORMS[objective.classification]
    softmax = objective.classification == "softmax"
    class_count = columns - 1 if softmax else columns

    def labels(classes):
        return ops.where(classes >= 0, classes, class_count if softmax else BACKGROUND)

    def forward(logits, box_pred, classes, box_true):
        label = labels(classes)
        positive = classes >= 0
        loss, p, entropy = dense_rows(logits, label, objective)
        parts, derivatives = coupled_rows(loss, p, entropy, box_pred, box_true, positive, objective)
        d_loss, d_p, d_box = derivatives
        total, loss, d_loss = (
            ops.where(ops.equal(classes, IGNORED), 0.0, x) for x in (parts[0], parts[1], d_loss)
        )
        known = ops.logical_and(classes >= IGNORED, classes < class_count)
        total = ops.where(known, total, float("nan")) + zero_or_nan(logits) + zero_or_nan(box_pred)
        rows = (total, loss, *parts[2:], ops.cast(positive, loss.dtype))
        return ops.stack(rows, axis=-1), d_loss, d_p, d_box

    def backward(upstream, logits, classes, d_loss, d_p, d_box):
        label = labels(classes)
        d_logits = dense_gradient(logits, label, upstream * d_loss, upstream * d_p, objective)
        return d_logits, upstream[..., None] * d_box

    return compiled(forward), compiled(backward)

