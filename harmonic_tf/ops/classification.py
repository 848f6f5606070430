"""The dense half of the objective: everything that reads all the logits.

Each form has two functions, a pass over the logits each:

* `*_rows(logits, label, objective)` reduces every row of `(B, A, K)` logits to three `(B, A)`
  tensors: its classification loss, the probability `p` of its class (meaningful for positives),
  and the entropy of its class distribution in nats.
* `*_gradient(logits, label, d_loss, d_p, objective)` is the gradient `(B, A, K)` of
  `d_loss * loss + d_p * p`. The entropy carries none.

`label` `(B, A)` is an int32 column of the logits; -1 where the row has none.
"""

from keras import ops

_TINY = 1e-30


def softmax_rows(logits, label, objective):
    shifted = logits - ops.max(logits, axis=-1, keepdims=True)
    exp = ops.exp(shifted)
    total = ops.sum(exp, axis=-1)
    log_total = ops.log(total)
    own = ops.sum(ops.where(_is_label(logits, label), shifted, 0.0), axis=-1)
    loss = log_total - own
    entropy = log_total - ops.sum(exp * shifted, axis=-1) / total
    return loss, ops.exp(own - log_total), entropy


def softmax_gradient(logits, label, d_loss, d_p, objective):
    exp = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    probability = exp / ops.sum(exp, axis=-1, keepdims=True)
    is_label = _is_label(logits, label)
    own = ops.sum(ops.where(is_label, probability, 0.0), axis=-1)
    coefficient = (d_loss - d_p * own)[..., None]
    return coefficient * (probability - ops.cast(is_label, logits.dtype))


def focal_rows(logits, label, objective):
    is_label, wrong, softplus, weight = _focal_parts(logits, label, objective)
    loss = ops.sum(weight * _power(wrong, objective.focal_gamma) * softplus, axis=-1)
    p = 1 - ops.sum(ops.where(is_label, wrong, 0.0), axis=-1)
    if not objective.contrastive:
        return loss, p, ops.zeros_like(p)
    score = ops.where(is_label, 1 - wrong, wrong)
    log_score = ops.where(is_label, -softplus, logits - softplus)
    total = ops.maximum(ops.sum(score, axis=-1), _TINY)
    entropy = ops.log(total) - ops.sum(score * log_score, axis=-1) / total
    return loss, p, ops.maximum(entropy, 0.0)


def focal_gradient(logits, label, d_loss, d_p, objective):
    is_label, wrong, softplus, weight = _focal_parts(logits, label, objective)
    gamma = objective.focal_gamma
    slope = weight * _power(wrong, gamma) * (gamma * (1 - wrong) * softplus + wrong)
    slope = slope * d_loss[..., None]
    return ops.where(is_label, d_p[..., None] * wrong * (1 - wrong) - slope, slope)


def _focal_parts(logits, label, objective):
    """`(is_label, wrong, softplus(z), weight)` of each logit; `wrong` = sigmoid(z).

    z is the logit, negated where the row carries that class, so that one formula serves both: it
    says how wrong the score is. One exponential serves the sigmoid and the softplus.
    """
    is_label = _is_label(logits, label)
    z = ops.where(is_label, -logits, logits)
    exp = ops.exp(-ops.abs(z))
    inverse = 1 / (1 + exp)
    wrong = ops.where(z >= 0, inverse, exp * inverse)
    softplus = ops.maximum(z, 0.0) - ops.log(inverse)
    alpha = ops.convert_to_tensor(objective.focal_alpha, logits.dtype)
    return is_label, wrong, softplus, ops.where(is_label, alpha, 1 - alpha)


def _power(base, exponent):
    if exponent == 0:
        return ops.ones_like(base)
    if exponent == 2:
        return base * base
    return ops.power(base, exponent)


def _is_label(logits, label):
    columns = ops.arange(logits.shape[-1], dtype="int32")
    return ops.equal(columns, label[..., None])
