"""The dense half of the objective: everything that reads all the logits.

Each form has a function `*_rows(logits, label, settings)` of logits `(rows, K)` and labels
`(rows,)`, int32, a column of the logits or -1 where a row has none. It returns `Dense`. A NaN or an
infinity among a row's logits makes its loss NaN.
"""

from typing import Any, NamedTuple

from keras import ops

from harmonic_tf.ops.compilation import row_sum

# Scores that are all smaller (logits below -69) have no entropy that float32 could tell: it is 0.
_TINY = 1e-30


class Dense(NamedTuple):
    """What a row's logits tell.

    Attributes:
        loss: `(rows,)`. Classification loss.
        p: `(rows,)`. Probability of the label's class; meaningful for positives.
        entropy: `(rows,)`. Entropy of the class distribution in nats.
        own_slope: `(rows,)`. Derivative of the loss by the label's logit.
        slope: `(rows, K)`. Derivative of the loss by every logit but the label's.
    """

    loss: Any
    p: Any
    entropy: Any
    own_slope: Any
    slope: Any


def softmax_rows(logits, label, settings):
    shifted = logits - ops.max(logits, axis=-1, keepdims=True)
    exp = ops.exp(shifted)
    total = row_sum(exp + (logits - logits))
    log_total = ops.log(total)
    log_p = _own(shifted, label) - log_total
    p = ops.exp(log_p)
    entropy = log_total - row_sum(exp * shifted) / total
    return Dense(-log_p, p, entropy, p - 1, exp / total[..., None])


def focal_rows(logits, label, settings):
    alpha, gamma = settings.focal_alpha, settings.focal_gamma
    score, softplus, log_score = _sigmoid(logits)
    others, slope = _focal(score, softplus, 1 - alpha, gamma)
    wrong, own_softplus, _ = _sigmoid(-_own(logits, label))
    own, own_slope = _focal(wrong, own_softplus, alpha, gamma)

    others = ops.where(is_own(logits, label), 0.0, others)
    loss = row_sum(others + (logits - logits)) + ops.where(label >= 0, own, 0.0)
    entropy = ops.zeros_like(loss)
    if settings.contrastive:
        total = ops.maximum(row_sum(score), _TINY)
        products = score * log_score
        entropy = ops.log(total) - row_sum(products) / total
        entropy = ops.maximum(entropy, 0.0)
    return Dense(loss, 1 - wrong, entropy, -own_slope, slope)


def is_own(logits, label):
    """Marks the label's column of each row, `(..., K)`."""
    # Compared as floats: XLA does not vectorise float arithmetic around an integer comparison.
    columns = ops.arange(logits.shape[-1], dtype=logits.dtype)
    return ops.equal(columns, ops.cast(label, logits.dtype)[..., None])


def _own(logits, label):
    """The logit of each row's label; any, where there is no such column."""
    column = ops.clip(label, 0, logits.shape[-1] - 1)
    return ops.take_along_axis(logits, column[..., None], axis=-1)[..., 0]


def _focal(wrong, cross_entropy, weight, gamma):
    """Focal loss of a score that is `wrong` by so much, and its slope by the logit of `wrong`."""
    scale = weight * _power(wrong, gamma)
    return scale * cross_entropy, scale * (gamma * (1 - wrong) * cross_entropy + wrong)


def _sigmoid(x):
    """`(sigmoid(x), softplus(x), log(sigmoid(x)))`, all from one exponential and one logarithm."""
    exp = ops.exp(-ops.abs(x))
    inverse = 1 / (1 + exp)
    log = ops.log(inverse)
    return (
        ops.where(x >= 0, inverse, exp * inverse),
        ops.maximum(x, 0.0) - log,
        ops.minimum(x, 0.0) + log,
    )


def _power(base, exponent):
    if exponent == 0:
        return ops.ones_like(base)
    if exponent == 2:
        return base * base
    return ops.power(base, exponent)
