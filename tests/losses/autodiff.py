"""Equation 13 as plain `keras.ops`, differentiated by the backend.

What the hand-derived gradient is compared with, in the tests and in `benchmarks/loss.py`.
"""

from keras import ops


def plain_loss(y_true, y_pred, settings):
    """The scalar of equation 13; arguments as `HarmonicDetLoss`, settings as `harmonic_tf.ops`.

    Plain about extremes too: logits of some hundred, or a target of minus infinity, break it.
    """
    classes = ops.cast(y_true["classification"], "int32")
    positive = ops.cast(classes >= 0, y_pred["box"].dtype)
    logits = y_pred["classification"]
    ce, p, probability = (_softmax if settings.classification == "softmax" else _focal)(
        logits, classes, settings
    )
    entropy = -ops.sum(probability * ops.log(ops.maximum(probability, 1e-30)), axis=-1)
    weight = ops.stop_gradient(1 / (1 + ops.exp(entropy)))

    u, giou = _ious(y_true["box"], y_pred["box"], settings.box_variance)
    if settings.box_loss == "giou":
        l_loc = 1 - giou
    elif settings.box_loss == "log_iou":
        l_loc = -ops.log(ops.maximum(u, 1e-6))
    else:
        difference = ops.abs(y_pred["box"] - y_true["box"])
        l_loc = ops.sum(ops.where(difference < 1, difference**2 / 2, difference - 0.5), axis=-1)
    if settings.iou_loss is not None:
        gamma = settings.gamma if settings.iou_loss == "hiou" else 0.0
        l_loc = l_loc + settings.alpha * ops.power(1 + u, gamma) * (1 - u)

    factor_r, factor_c = settings.factor_offset + ops.exp(-l_loc), settings.factor_offset + p
    if settings.normalize_factors:
        count = ops.sum(positive)
        means = (ops.sum(positive * factor) / count for factor in (factor_r, factor_c))
        means = [ops.stop_gradient(mean) / 2 for mean in means]
        factor_r, factor_c = factor_r / means[0], factor_c / means[1]
    if not settings.harmonic:
        factor_r = factor_c = settings.constant_factor
    elif not settings.factor_gradient:
        factor_r, factor_c = ops.stop_gradient(factor_r), ops.stop_gradient(factor_c)
    l_i = factor_r * ce + factor_c * l_loc
    if settings.contrastive:
        l_i = l_i + weight * ops.relu(ops.abs(p - u) - settings.margin)

    negative = ops.cast(ops.equal(classes, -1), positive.dtype)
    count = ops.maximum(ops.sum(positive), 1.0)
    return ops.sum(positive * l_i + negative * ce) / count


def _softmax(logits, classes, settings):
    own = ops.where(classes >= 0, classes, logits.shape[-1] - 1)
    hot = ops.one_hot(own, logits.shape[-1], dtype=logits.dtype)
    ce = -ops.sum(hot * ops.log_softmax(logits, axis=-1), axis=-1)
    probability = ops.softmax(logits, axis=-1)
    return ce, ops.sum(hot * probability, axis=-1), probability


def _focal(logits, classes, settings):
    hot = ops.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
    score = ops.sigmoid(logits)
    cross_entropy = hot * ops.softplus(-logits) + (1 - hot) * ops.softplus(logits)
    wrong = hot * (1 - score) + (1 - hot) * score
    balance = hot * settings.focal_alpha + (1 - hot) * (1 - settings.focal_alpha)
    focal = ops.sum(balance * ops.power(wrong, settings.focal_gamma) * cross_entropy, axis=-1)
    return focal, ops.sum(hot * score, axis=-1), score / ops.sum(score, axis=-1, keepdims=True)


def _ious(box_true, box_pred, variance):
    """IoU and GIoU."""
    (low, high), (low_true, high_true) = _edges(box_pred, variance), _edges(box_true, variance)
    overlap = ops.relu(ops.minimum(high, high_true) - ops.maximum(low, low_true))
    inter = ops.prod(overlap, axis=-1)
    areas = ops.prod(high - low, axis=-1) + ops.prod(high_true - low_true, axis=-1)
    hull = ops.prod(ops.maximum(high, high_true) - ops.minimum(low, low_true), axis=-1)
    union = areas - inter
    return inter / union, inter / union - (hull - union) / hull


def _edges(deltas, variance):
    deltas = deltas * ops.convert_to_tensor(variance, deltas.dtype)
    centre, half = deltas[..., :2], ops.exp(deltas[..., 2:]) / 2
    return centre - half, centre + half
