"""The equations in NumPy float64, written for reading, and random cases to try them on."""

import numpy as np

DEFAULTS = {
    "classification": "softmax",
    "alpha": 1.5,
    "gamma": 0.8,
    "margin": 0.2,
    "iou_loss": "hiou",
    "box_loss": "smooth_l1",
    "harmonic": True,
    "constant_factor": 1.0,
    "contrastive": True,
    "factor_gradient": True,
    "factor_offset": 1.0,
    "normalize_factors": False,
    "focal_alpha": 0.25,
    "focal_gamma": 2.0,
    "box_variance": (0.1, 0.1, 0.2, 0.2),
    "box_coding": "center_size",
}

FORMS = ("softmax", "focal")

# Every switch and number of the objective, each away from its default.
VARIATIONS = {
    "default": {},
    "alpha": {"alpha": 0.7},
    "gamma": {"gamma": 0.3},
    "gamma 0": {"gamma": 0.0},
    "gamma 1": {"gamma": 1.0},
    "margin": {"margin": 0.05},
    "iou": {"iou_loss": "iou"},
    "smooth l1 only": {"iou_loss": None},
    "giou": {"box_loss": "giou"},
    "log iou": {"box_loss": "log_iou", "iou_loss": None},
    "not harmonic": {"harmonic": False},
    "constant factors": {"harmonic": False, "constant_factor": 2.0},
    "no contrast": {"contrastive": False},
    "fixed factors": {"factor_gradient": False},
    "offset": {"factor_offset": 0.3},
    "normalized": {"normalize_factors": True},
    "harmonic norm": {
        "factor_offset": 0.1,
        "normalize_factors": True,
        "factor_gradient": False,
    },
    "standard": {"harmonic": False, "contrastive": False, "iou_loss": None},
    "focal alpha": {"focal_alpha": 0.6},
    "focal gamma 0": {"focal_gamma": 0.0},
    "focal gamma": {"focal_gamma": 1.5},
    "unit variance": {"box_variance": (1.0, 1.0, 1.0, 1.0)},
}

_ANCHOR_CENTRE, _ANCHOR_SIZE = np.array([37.0, 51.0]), np.array([20.0, 44.0])


def random_case(form, seed=0, batch=2, rows=40, classes=4, spread=3.0, variance=None):
    """Random targets and predictions: a third positives, good boxes, bad boxes, disjoint boxes."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([-2, -1, 0], p=[0.1, 0.5, 0.4], size=(batch, rows))
    box_true = rng.normal(0, 1, (batch, rows, 4))
    error = rng.choice([0.1, 1.0, 6.0], size=(batch, rows, 1))
    box_pred = box_true + error * rng.normal(0, 1, (batch, rows, 4))
    shrink = np.array(DEFAULTS["box_variance"]) / np.array(variance or DEFAULTS["box_variance"])
    columns = classes + (form == "softmax")
    y_true = {
        "box": box_true * shrink,
        "classification": np.where(kind < 0, kind, rng.integers(0, classes, kind.shape)),
    }
    y_pred = {
        "box": box_pred * shrink,
        "classification": rng.normal(0, spread, (batch, rows, columns)),
    }
    return y_true, y_pred


def parts(y_true, y_pred, held=None, **settings):
    """Every row's parts, `(B, A)` each, by the names of `harmonic_tf.ops.Parts`.

    `held` is an earlier result: what carries no gradient (the entropy weight, the factors' means;
    the factors, if `factor_gradient=False`) is taken from there, so that differences of `total` are
    the gradient.
    """
    s = {**DEFAULTS, **settings}
    classes = np.asarray(y_true["classification"]).astype(int)
    positive = classes >= 0
    logits = np.asarray(y_pred["classification"], "float64")
    ce, p, weight = (
        _softmax(logits, classes)
        if s["classification"] == "softmax"
        else _focal(logits, classes, s["focal_alpha"], s["focal_gamma"])
    )
    coding = s["box_variance"], s["box_coding"]
    u = iou(y_true["box"], y_pred["box"], *coding)
    if s["box_loss"] == "giou":
        l_loc = 1 - giou(y_true["box"], y_pred["box"], *coding)
    elif s["box_loss"] == "log_iou":
        l_loc = -np.log(np.maximum(u, 1e-6))
    else:
        l_loc = smooth_l1(np.asarray(y_pred["box"]) - np.asarray(y_true["box"])).sum(-1)
    if s["iou_loss"] is not None:
        gamma = s["gamma"] if s["iou_loss"] == "hiou" else 0.0
        l_loc = l_loc + s["alpha"] * (1 + u) ** gamma * (1 - u)

    beta_r, beta_c = np.exp(-l_loc), p
    factors = np.stack([s["factor_offset"] + beta_r, s["factor_offset"] + beta_c])
    means = np.ones((2, 1, 1))
    if s["normalize_factors"] and positive.any():
        means = factors[:, positive].mean(1)[:, None, None] / 2
    if held is not None:
        weight, means = held["weight"], held["means"]
        if not s["factor_gradient"]:
            factors = held["factors"] * means
    factors = factors / means
    factor_r, factor_c = factors if s["harmonic"] else np.full((2, 1, 1), s["constant_factor"])

    l_tc = weight * np.maximum(0, np.abs(p - u) - s["margin"])
    l_i = factor_r * ce + factor_c * l_loc + (l_tc if s["contrastive"] else 0)
    total = np.where(positive, l_i, np.where(classes == -1, ce, 0))
    only = {"localization": l_loc, "contrastive": l_tc, "beta_r": beta_r, "beta_c": beta_c}
    only |= {"p": p, "iou": u, "positive": np.ones_like(p)}
    return {
        "total": total,
        "classification": np.where(classes == -2, 0, ce),
        **{name: np.where(positive, value, 0) for name, value in only.items()},
        "weight": weight,
        "factors": factors,
        "means": means,
    }


def loss(y_true, y_pred, held=None, **settings):
    """Equation 13."""
    rows = parts(y_true, y_pred, held, **settings)
    return rows["total"].sum() / max(1, rows["positive"].sum())


def gradients(y_true, y_pred, step=1e-5, **settings):
    """Central differences of equation 13 by the boxes and the logits.

    A prediction only moves its own row, so one column of all rows is moved at a time.
    """
    held = parts(y_true, y_pred, **settings)
    count = max(1, held["positive"].sum())
    result = {}
    for key, value in y_pred.items():
        slopes = np.zeros(value.shape)
        for column in range(value.shape[-1]):
            ends = []
            for sign in (1, -1):
                moved = np.array(value, "float64")
                moved[..., column] += sign * step
                ends.append(parts(y_true, {**y_pred, key: moved}, held, **settings)["total"])
            slopes[..., column] = (ends[0] - ends[1]) / (2 * step)
        result[key] = slopes / count
    return result


def smooth_l1(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


def iou(*boxes):
    inter, union, _ = areas(*boxes)
    return inter / np.where(union > 0, union, 1)


def giou(*boxes):
    _, union, hull = areas(*boxes)
    return iou(*boxes) - (hull - union) / np.where(hull > 0, hull, 1)


def areas(deltas_1, deltas_2, variance, coding="center_size"):
    (x1, y1, x2, y2), (x3, y3, x4, y4) = (
        np.moveaxis(_DECODE[coding](np.asarray(deltas, "float64"), variance), -1, 0)
        for deltas in (deltas_1, deltas_2)
    )
    width = np.maximum(0, np.minimum(x2, x4) - np.maximum(x1, x3))
    height = np.maximum(0, np.minimum(y2, y4) - np.maximum(y1, y3))
    inter = width * height
    both = (
        np.maximum(0, b - a) * np.maximum(0, d - c)
        for a, b, c, d in ((x1, x2, y1, y2), (x3, x4, y3, y4))
    )
    hull = (np.maximum(x2, x4) - np.minimum(x1, x3)) * (np.maximum(y2, y4) - np.minimum(y1, y3))
    return inter, sum(both) - inter, hull


def _decode_center_size(deltas, variance):
    deltas = deltas * np.asarray(variance)
    centre = _ANCHOR_CENTRE + deltas[..., :2] * _ANCHOR_SIZE
    size = _ANCHOR_SIZE * np.exp(deltas[..., 2:])
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def _decode_corners(deltas, variance):
    corners = np.concatenate([_ANCHOR_CENTRE - _ANCHOR_SIZE / 2, _ANCHOR_CENTRE + _ANCHOR_SIZE / 2])
    return corners + deltas * np.asarray(variance) * np.tile(_ANCHOR_SIZE, 2)


def _decode_distances(distances, variance):
    return np.concatenate([-distances[..., :2], distances[..., 2:]], -1) * 8 + 100


_DECODE = {
    "center_size": _decode_center_size,
    "corners": _decode_corners,
    "distances": _decode_distances,
}


def _softmax(logits, classes):
    probability = np.exp(logits - logits.max(-1, keepdims=True))
    probability /= probability.sum(-1, keepdims=True)
    own = np.where(classes >= 0, classes, logits.shape[-1] - 1)
    p = np.take_along_axis(probability, own[..., None], -1)[..., 0]
    return -np.log(p), p, _entropy_weight(probability)


def _focal(logits, classes, alpha, gamma):
    score = 1 / (1 + np.exp(-logits))
    hot = classes[..., None] == np.arange(logits.shape[-1])
    right = np.where(hot, score, 1 - score)
    balance = np.where(hot, alpha, 1 - alpha)
    focal = (balance * (1 - right) ** gamma * -np.log(right)).sum(-1)
    p = np.where(hot, score, 0).sum(-1)
    return focal, p, _entropy_weight(score / score.sum(-1, keepdims=True))


def _entropy_weight(probability):
    entropy = -(probability * np.log(probability)).sum(-1)
    return 1 / (1 + np.exp(entropy))
