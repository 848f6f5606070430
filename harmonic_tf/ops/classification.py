"""The dense half of the objective: everything that reads all the scores.

Each form has a function `*_rows(scores, label, settings)` of scores `(rows, K)`, logits or,
without `settings.from_logits`, what softmax or sigmoid made of them, and labels `(rows,)`, int32,
a column of the scores or -1 where a row has none. It returns `Dense`. A NaN or an infinity among a
row's scores makes its loss NaN, and so does a probability outside [0, 1].
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from harmonic_tf.ops.compilation import row_sum

# Scores that are all smaller (logits below -69) have no entropy that float32 could tell: it is 0.
_TINY = 1e-30
# Where probabilities are held before their logarithm is taken, as ssd_keras does.
_LEAST = 1e-15


class Dense(NamedTuple):
    """What a row's scores tell.

    Attributes:
        loss: `(rows,)`. Classification loss.
        p: `(rows,)`. Probability of the label's class; meaningful for positives.
        entropy: `(rows,)`. Entropy of the class distribution in nats.
        own_slope: `(rows,)`. Derivative of the loss by the label's score.
        p_slope: `(rows,)`. Derivative of p by the label's score.
        slope: `(rows, K)`. Derivative of the loss by every score but the label's.
    """

    loss: Any
    p: Any
    entropy: Any
    own_slope: Any
    p_slope: Any
    slope: Any


def softmax_rows(scores, label, settings):
    if settings.from_logits:
        log = scores - ops.max(scores, axis=-1, keepdims=True)
        exp = ops.exp(log)
    else:
        exp = ops.maximum(scores, _LEAST)
        log = ops.log(exp)
    total = row_sum(exp + _broken(scores, settings))
    log_total = ops.log(total)
    log_p = _own(log, label) - log_total
    p = ops.exp(log_p)
    entropy = log_total - row_sum(exp * log) / total
    if settings.from_logits:
        return Dense(-log_p, p, entropy, p - 1, p * (1 - p), exp / total[..., None])
    # d log(q) / dq = 1 / q, by which every slope is multiplied.
    own = 1 / ops.maximum(_own(scores, label), _LEAST)
    slope = ops.ones_like(scores) / total[..., None]
    return Dense(-log_p, p, entropy, (p - 1) * own, p * (1 - p) * own, slope)


def focal_rows(scores, label, settings):
    alpha, gamma = settings.focal_alpha, settings.focal_gamma
    own = _own(scores, label)
    if settings.from_logits:
        score, softplus, log_score = _sigmoid(scores)
        wrong, own_softplus, _ = _sigmoid(-own)
        by_score = own_by_score = 1
    else:
        score, own = _inside(scores), _inside(own)
        softplus, log_score = -ops.log(1 - score), ops.log(score)
        wrong, own_softplus = 1 - own, -ops.log(own)
        by_score, own_by_score = 1 / (score * (1 - score)), 1 / (own * wrong)
    others, slope = _focal(score, softplus, 1 - alpha, gamma)
    of_own, own_slope = _focal(wrong, own_softplus, alpha, gamma)

    others = ops.where(is_own(scores, label), 0.0, others)
    loss = row_sum(others + _broken(scores, settings)) + ops.where(label >= 0, of_own, 0.0)
    entropy = ops.zeros_like(loss)
    if settings.contrastive:
        total = ops.maximum(row_sum(score), _TINY)
        products = score * log_score
        entropy = ops.log(total) - row_sum(products) / total
        entropy = ops.maximum(entropy, 0.0)
    p = 1 - wrong
    p_slope = p * wrong * own_by_score
    return Dense(loss, p, entropy, -own_slope * own_by_score, p_slope, slope * by_score)


def _broken(scores, settings):
    """0, or NaN for what no score can be."""
    if settings.from_logits:
        return scores - scores
    return ops.where(ops.abs(scores - 0.5) <= 0.501, scores - scores, float("nan"))


def _inside(scores):
    """Probabilities away from 0 and from 1, where a logarithm has no end."""
    most = 1 - float(np.finfo(keras.backend.standardize_dtype(scores.dtype)).eps)
    return ops.clip(scores, _LEAST, most)


def is_own(scores, label):
    """Marks the label's column of each row, `(..., K)`."""
    # Compared as floats: XLA does not vectorise float arithmetic around an integer comparison.
    columns = ops.arange(scores.shape[-1], dtype=scores.dtype)
    return ops.equal(columns, ops.cast(label, scores.dtype)[..., None])


def _own(scores, label):
    """The score of each row's label; any, where there is no such column."""
    column = ops.clip(label, 0, scores.shape[-1] - 1)
    return ops.take_along_axis(scores, column[..., None], axis=-1)[..., 0]


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
