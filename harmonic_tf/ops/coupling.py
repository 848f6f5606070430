"""The coupled half of the objective: equations 2, 3, 8, 10, 11 and 12, for each row."""

from keras import ops

from harmonic_tf import boxes
from harmonic_tf.ops.compilation import row_sum

# The least of factors that are to be divided by their mean, so that they are all 2 if all are 0.
# (A maximum, for XLA adds the offset and so small a number first, and loses it.)
_LEAST_FACTOR = 1e-20
# Below it -ln IoU is constant.
_LEAST_IOU = 1e-6


def coupled_rows(loss, p, entropy, box_pred, box_true, positive, settings, scales=(1.0, 1.0)):
    """Equation 12 for the positives, with its derivatives.

    Args:
        loss: `(rows,)`. Classification loss of each row, CE in the equations.
        p: `(rows,)`. Predicted probability of the row's class.
        entropy: `(rows,)`. Entropy of the row's class distribution, in nats.
        box_pred: `(rows, 4)`. Predicted deltas.
        box_true: `(rows, 4)`. Target deltas.
        positive: `(rows,)` bool.
        settings: `Settings`.
        scales: what the two factors are multiplied by, constants to the derivatives; see
            `scales_of`.

    Returns:
        `(parts, derivatives)`. `parts` is a tuple of eight `(rows,)` tensors in the order of
        `Parts`, each zero outside the positives except the first two. `derivatives` is
        `(d_loss, d_p, d_box)`: of the first part by `loss`, by `p` with `loss` held, `(rows,)`,
        and by `box_pred`, `(4, rows)`. Where beta_c = p is a factor its dependence is in `d_p`.
    """
    scale_r, scale_c = scales
    localization, d_box_loss, iou, d_iou, d_iou_term = _localization(box_pred, box_true, settings)
    beta_r = ops.exp(-localization)

    if settings.harmonic:
        factor_r, factor_c = (
            scale * _factor(beta, settings) for scale, beta in ((scale_r, beta_r), (scale_c, p))
        )
    else:
        factor_r = factor_c = settings.constant_factor * ops.ones_like(p)
    total = factor_r * loss + factor_c * localization
    d_loss, d_p, d_localization = factor_r, ops.zeros_like(p), factor_c
    if settings.harmonic and settings.factor_gradient:
        d_p = scale_c * localization
        d_localization = factor_c - loss * (scale_r * beta_r)

    d_by_iou = d_localization * d_iou_term
    contrast = ops.zeros_like(p)
    if settings.contrastive:
        gap = p - iou
        excess = ops.abs(gap) - settings.margin
        weight = 1 / (1 + ops.exp(entropy))
        contrast = weight * ops.maximum(excess, 0.0)
        slope = weight * ops.where(excess > 0, ops.sign(gap), 0.0)
        total = total + contrast
        d_p = d_p + slope
        d_by_iou = d_by_iou - slope

    d_box = d_localization * d_box_loss + d_by_iou * d_iou
    background = (loss, ops.ones_like(loss))
    total, d_loss = (
        ops.where(positive, x, other) for x, other in zip((total, d_loss), background, strict=True)
    )
    localization, contrast, beta_r, beta_c, p, iou, d_p = (
        ops.where(positive, x, 0.0) for x in (localization, contrast, beta_r, p, p, iou, d_p)
    )
    d_box = ops.where(positive, d_box, 0.0)
    parts = (total, loss, localization, contrast, beta_r, beta_c, p, iou)
    return parts, (d_loss, d_p, d_box)


def factor_sums(p, box_pred, box_true, positive, settings):
    """What `scales_of` needs to know of these rows.

    Args:
        p, box_pred, box_true, positive, settings: as for `coupled_rows`.

    Returns:
        `(3,)`: the sums over the positives of the first factor, of the second, and of 1.
    """
    localization, *_ = _localization(box_pred, box_true, settings)
    factors = [_factor(beta, settings) for beta in (ops.exp(-localization), p)]
    terms = [ops.where(positive, x, 0.0) for x in (*factors, ops.ones_like(p))]
    return row_sum(ops.stack(terms))


def scales_of(sums):
    """What brings the mean of each factor to 2, from the sums over all positives there are."""
    *factors, count = ops.unstack(sums)
    return tuple(2 * count / ops.where(count > 0, total, 1.0) for total in factors)


def _factor(beta, settings):
    factor = settings.factor_offset + beta
    return ops.maximum(factor, _LEAST_FACTOR) if settings.normalize_factors else factor


def _localization(box_pred, box_true, settings):
    """L_loc (11) `(rows,)`, and what its derivatives are made of."""
    # Deltas first, so that each is a vector over the rows.
    box_pred, box_true = ops.transpose(box_pred), ops.transpose(box_true)
    variance = ops.convert_to_tensor(settings.box_variance, box_pred.dtype)[:, None]
    if settings.box_coding == "center_size":
        # The target of a box without width or height is minus infinity: it is held at the smallest
        # size that `boxes.edges` decodes.
        limit = boxes.MAX_LOG_SIZE / variance[2:]
        sizes = ops.clip(box_true[2:], -limit, limit)
        box_true = ops.concatenate([box_true[:2], sizes], axis=0)
    box, true_box, pull = _EDGES[settings.box_coding](box_pred, box_true, variance)
    iou, union, by_inter, by_area, by_low, by_high = _iou(*box, *true_box)
    d_iou = pull(by_inter, by_low, by_high, by_area)
    if settings.box_loss == "smooth_l1":
        box_loss, d_box_loss = _smooth_l1(box_pred, box_true)
    elif settings.box_loss == "log_iou":
        box_loss = -ops.log(ops.maximum(iou, _LEAST_IOU))
        d_box_loss = ops.where(iou > _LEAST_IOU, -d_iou / ops.maximum(iou, _LEAST_IOU), 0.0)
    else:
        hull, d_hull = _hull(box, true_box, pull)
        by_union = 1 / hull
        d_union = pull(-by_union, by_low, by_high, by_union)
        box_loss = 2 - iou - union / hull
        d_box_loss = union / hull / hull * d_hull - d_union - d_iou
    iou_term, d_iou_term = _iou_term(iou, settings)
    return box_loss + iou_term, d_box_loss, iou, d_iou, d_iou_term


def _smooth_l1(box_pred, box_true):
    """Smooth L1 summed over the 4 deltas, and its gradient `(4, rows)`."""
    difference = box_pred - box_true
    size = ops.abs(difference)
    value = ops.where(size < 1, 0.5 * difference * difference, size - 0.5)
    return ops.sum(value, axis=0), ops.clip(difference, -1.0, 1.0)


def _edges_of_center_size(box_pred, box_true, variance):
    """Two boxes given as deltas of one anchor.

    Centres are measured from the target's, so that small boxes keep their digits.

    Returns:
        `(box, true_box, pull)`: low and high edges and sizes of each, `(2, rows)`, and a function
        that makes derivatives by the deltas, `(4, rows)`, of those by the predicted box's low and
        high edges, which it scales, and by its area.
    """
    centre = variance[:2] * (box_pred[:2] - box_true[:2])
    log_size = variance[2:] * box_pred[2:]
    low, high, size = boxes.edges(centre, log_size)

    def pull(scale, by_low, by_high, by_area):
        by_centre = scale * (by_high + by_low)
        by_size = scale * (by_high - by_low) / 2 + by_area * ops.flip(size, axis=0)
        by_log_size = ops.where(ops.abs(log_size) < boxes.MAX_LOG_SIZE, by_size * size, 0.0)
        return variance * ops.concatenate([by_centre, by_log_size], axis=0)

    return (low, high, size), boxes.edges(0.0, variance[2:] * box_true[2:]), pull


def _edges_of_corners(box_pred, box_true, variance):
    """The same of two boxes given as the distances of their corners from those of one anchor."""
    (low, high), (low_true, high_true) = (
        (variance[:2] * corners[:2], 1 + variance[2:] * corners[2:])
        for corners in (box_pred, box_true)
    )
    size, size_true = ops.maximum(high - low, 0.0), ops.maximum(high_true - low_true, 0.0)

    def pull(scale, by_low, by_high, by_area):
        by_size = ops.where(high > low, by_area * ops.flip(size, axis=0), 0.0)
        by_corners = [scale * by_low - by_size, scale * by_high + by_size]
        return variance * ops.concatenate(by_corners, axis=0)

    return (low, high, size), (low_true, high_true, size_true), pull


_EDGES = {"center_size": _edges_of_center_size, "corners": _edges_of_corners}


def _iou(low, high, size, low_true, high_true, size_true):
    """IoU of boxes given by edges and sizes, `(2, rows)` each; 0 where both are empty.

    Returns:
        `(iou, union, by_inter, by_area, by_low, by_high)`: the IoU, the union, the derivatives of
        the IoU by the intersection and by the box's area, `(rows,)` each, and those of the
        intersection by the box's edges, `(2, rows)`. Where two edges coincide each side of the kink
        counts half, so that the gradient at the target itself is zero.
    """
    overlap = ops.maximum(ops.minimum(high, high_true) - ops.maximum(low, low_true), 0.0)
    inter = overlap[0] * overlap[1]
    union = size[0] * size[1] + size_true[0] * size_true[1] - inter
    divisor = ops.where(union > 0, union, 1.0)

    by_inter = (divisor + inter) / divisor / divisor
    by_area = -inter / divisor / divisor
    touching = ops.cast(overlap > 0, overlap.dtype) * ops.flip(overlap, axis=0)
    by_high = touching * (0.5 + 0.5 * ops.sign(high_true - high))
    by_low = -touching * (0.5 + 0.5 * ops.sign(low - low_true))
    return inter / divisor, union, by_inter, by_area, by_low, by_high


def _hull(box, true_box, pull):
    """Area of the smallest box around both, 1 where it is empty, and its gradient `(4, rows)`."""
    (low, high, _), (low_true, high_true, _) = box, true_box
    size = ops.maximum(high, high_true) - ops.minimum(low, low_true)
    area = size[0] * size[1]
    across = ops.flip(size, axis=0)
    by_high = across * (0.5 + 0.5 * ops.sign(high - high_true))
    by_low = -across * (0.5 + 0.5 * ops.sign(low_true - low))
    return ops.where(area > 0, area, 1.0), pull(1.0, by_low, by_high, 0.0)


def _iou_term(iou, settings):
    """alpha times equation 10 (or 9), and its derivative by the IoU."""
    if settings.iou_loss is None:
        return ops.zeros_like(iou), ops.zeros_like(iou)
    if settings.iou_loss == "iou":
        return settings.alpha * (1 - iou), -settings.alpha * ops.ones_like(iou)
    gamma = settings.gamma
    rise = ops.exp(gamma * ops.log(1 + iou))
    value = settings.alpha * rise * (1 - iou)
    return value, settings.alpha * rise * (gamma * (1 - iou) / (1 + iou) - 1)
