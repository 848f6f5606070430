"""The objective of every row as one differentiable operation with a hand-derived gradient."""

import functools
from typing import Any, NamedTuple

from keras import ops

from harmonic_tf.ops import classification
from harmonic_tf.ops.compilation import compiled, in_chunks
from harmonic_tf.ops.coupling import coupled_rows, factor_sums, scales_of
from harmonic_tf.ops.replicas import global_sum, replica_count

BACKGROUND = -1
IGNORED = -2


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


# A row's parts; the derivative of `total` by the logit of its label, and what its other slopes are
# to be multiplied by; the derivatives by the 4 deltas.
_WIDTH = len(Parts._fields) + 6


def objective_rows(logits, box_pred, classes, box_true, settings):
    """Equation 12 for the positives and the classification loss for the negatives, row by row.

    The gradient is derived by hand, in whichever backend Keras runs on. The forward pass reads the
    logits once and keeps the slope of the classification loss by them, the only thing of their
    size; the backward pass scales it.

    Args:
        logits: float tensor `(B, A, K)`: K = C for `settings.classification == "focal"`, K = C + 1
            with the background last or first for `"softmax"`. Probabilities, if
            `settings.from_logits` is off.
        box_pred: float tensor `(B, A, 4)`. Predicted deltas.
        classes: tensor `(B, A)`. Class index, -1 background, -2 ignored. A class that the logits
            have no column for gives NaN.
        box_true: float tensor `(B, A, 4)`. Target deltas; read for positives only.
        settings: `Settings`.

    Returns:
        `Parts`. Only `total` carries a gradient, to `logits` and `box_pred`. A NaN or an infinity
        anywhere in a row of `logits` or `box_pred` makes that row's `total` NaN.
    """
    forward, backward = _compiled(settings, logits.shape[-1])

    @ops.custom_gradient
    def stacked_parts(logits, box_pred, classes, box_true):
        # Without `stop_gradient` TensorFlow would derive a gradient of its own, when eager.
        tensors = (ops.stop_gradient(x) for x in (logits, box_pred, classes, box_true))
        rows, slope = forward(*tensors)

        def gradient(*args, upstream=None):
            upstream = args[0] if upstream is None else upstream
            d_logits, d_box_pred = backward(upstream[0], classes, rows, slope)
            return d_logits, d_box_pred, None, None

        return rows, gradient

    rows = stacked_parts(logits, box_pred, ops.cast(classes, "int32"), box_true)
    total, *parts = (rows[i] for i in range(len(Parts._fields)))
    return Parts(total, *(ops.stop_gradient(part) for part in parts))


@functools.lru_cache(maxsize=None)
def _compiled(settings, columns):
    """The two passes; a pair for each number of columns, so that it is always a known number."""
    softmax = settings.classification == "softmax"
    dense_rows = classification.softmax_rows if softmax else classification.focal_rows
    class_count = columns - 1 if softmax else columns

    def labels(classes):
        if softmax and settings.background == "first":
            return ops.maximum(classes, -1) + 1
        return ops.where(classes >= 0, classes, class_count if softmax else BACKGROUND)

    def dense(logits, classes):
        *rows, slope = dense_rows(logits, labels(classes), settings)
        return ops.stack(rows, axis=-1), slope

    widths = len(classification.Dense._fields) - 1, columns
    dense_in_chunks = in_chunks(dense, widths, computed=4)

    def read(logits, box_pred, classes, box_true):
        """What the logits tell of each row, the slopes by them, and the sums of the factors."""
        shape, classes = ops.shape(classes), ops.reshape(classes, (-1,))
        rows, slope = dense_in_chunks(_flat(logits), classes)
        sums = ()
        if settings.normalize_factors:
            sums = factor_sums(rows[:, 1], _flat(box_pred), _flat(box_true), classes >= 0, settings)
        return rows, ops.reshape(slope, (*shape, columns)), sums

    def couple(rows, sums, box_pred, classes, box_true):
        """The parts of each row and their derivatives, but for those by the logits."""
        shape, classes = ops.shape(classes), ops.reshape(classes, (-1,))
        box_pred, box_true = _flat(box_pred), _flat(box_true)
        loss, p, entropy, own_slope, p_slope = ops.unstack(rows, axis=-1)
        positive, ignored = classes >= 0, ops.equal(classes, IGNORED)
        scales = scales_of(sums) if settings.normalize_factors else (1.0, 1.0)
        parts, derivatives = coupled_rows(
            loss, p, entropy, box_pred, box_true, positive, settings, scales
        )
        d_loss, d_p, d_box = derivatives
        d_own = d_loss * own_slope + d_p * p_slope
        d_others = d_loss - d_p * p if softmax else d_loss
        # 0 or NaN: a broken prediction stays visible in rows that do not depend on it. (A product
        # with 0 would not do, for XLA takes it for 0.)
        broken = (loss - loss) + ops.sum(box_pred - box_pred, axis=-1)
        total, loss, d_own, d_others = (
            ops.where(ignored, 0.0, x) for x in (parts[0], loss, d_own, d_others)
        )
        known = ops.logical_and(classes >= IGNORED, classes < class_count)
        total = ops.where(known, total, float("nan")) + broken
        rows = (total, loss, *parts[2:], ops.cast(positive, loss.dtype), d_own, d_others)
        rows = ops.concatenate([ops.stack(rows), d_box], axis=0)
        return ops.reshape(rows, (_WIDTH, *shape))

    def backward(upstream, classes, rows, slope):
        d_rows = upstream * rows[len(Parts._fields) :]
        d_own, d_others, d_box = d_rows[0], d_rows[1], ops.moveaxis(d_rows[2:], 0, -1)
        is_own = classification.is_own(slope, labels(classes))
        return ops.where(is_own, d_own[..., None], d_others[..., None] * slope), d_box

    def alone(logits, *rest):
        rows, slope, sums = read(logits, *rest)
        return couple(rows, sums, *rest), slope

    alone, backward = compiled(alone), compiled(backward)
    if not settings.normalize_factors:
        return alone, backward
    read, couple = compiled(read), compiled(couple)

    def forward(logits, *rest):
        if replica_count() == 1:
            return alone(logits, *rest)
        rows, slope, sums = read(logits, *rest)
        return couple(rows, global_sum(sums), *rest), slope

    return forward, backward


def _flat(tensor):
    return ops.reshape(tensor, (-1, tensor.shape[-1]))
