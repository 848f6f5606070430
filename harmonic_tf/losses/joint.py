"""What all losses on the contract share: rows in, one number out."""

import keras
from keras import ops

from harmonic_tf.losses.contract import rows_of
from harmonic_tf.losses.mining import hard_negatives
from harmonic_tf.ops import Settings, global_sum, objective_rows

# What "auto" means in a loss without a detector.
AUTO = {
    "classification": "softmax",
    "box_variance": (0.1, 0.1, 0.2, 0.2),
    "negative_ratio": None,
}


class JointLoss(keras.losses.Loss):
    """A loss that sees the boxes and the classes of a detector together.

    A subclass's constructor names its settings, once, with their defaults, and hands them on as
    `super().__init__(locals())`. This class selects the negatives, divides by the number of
    positives and reduces (13). Computes in float32 (float64 if asked) whatever the policy.

    Args:
        arguments: dict. The subclass's `locals()`: fields of `harmonic_tf.ops.Settings`, `"auto"`
            where a detector may choose; `negative_ratio` and `min_negatives` (see
            `harmonic_tf.losses.mining`); Keras's `reduction`, `name` and `dtype`.
        **fixed: the settings that the subclass does not leave open.
    """

    def __init__(self, arguments, **fixed):
        own = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}
        reduction, name, dtype = (own.pop(key) for key in ("reduction", "name", "dtype"))
        wide = keras.dtype_policies.get(dtype or "float32").compute_dtype == "float64"
        super().__init__(name=name, reduction=reduction, dtype="float64" if wide else "float32")
        self._arguments = own

        chosen = {k: AUTO[k] if _is_auto(v) else v for k, v in own.items()}
        self.negative_ratio = chosen.pop("negative_ratio", None)
        self.min_negatives = chosen.pop("min_negatives", 0)
        self.objective = Settings(**chosen, **fixed)
        _check_mining(self.negative_ratio, self.min_negatives)

    def for_detector(self, loss_settings):
        """This loss as a detector needs it: every `"auto"` is filled from the detector's settings.

        Args:
            loss_settings: dict. A detector's `loss_settings`: `classification`, `box_variance`,
                `negative_ratio`.

        Returns:
            A loss of the same class and config otherwise. `negative_ratio` is the detector's only
            if it is `"auto"` here: a number or None that was set stays.

        Raises:
            ValueError: if `classification` or `box_variance` was set, and otherwise than the
                detector's.

        Example:

        >>> loss = HarmonicDetLoss(negative_ratio=None)
        >>> settings = {"classification": "focal", "box_variance": [1, 1, 1, 1]}
        >>> config = loss.for_detector({**settings, "negative_ratio": 3.0}).get_config()
        >>> config["classification"], config["box_variance"], config["negative_ratio"]
        ('focal', (1.0, 1.0, 1.0, 1.0), None)
        """
        config = self.get_config()
        for name, wanted in loss_settings.items():
            if name not in self._arguments:
                continue
            if _is_auto(self._arguments[name]):
                config[name] = wanted
            elif name != "negative_ratio" and _plain(config[name]) != _plain(wanted):
                raise ValueError(
                    f"`{name}` of {type(self).__name__} must be the detector's, {wanted!r}, or "
                    f'"auto", which takes it from there. Received: {config[name]!r}'
                )
        return type(self).from_config(config)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As any Keras loss; `sample_weight` weighs images, `(B,)`, or rows, `(B, A)`."""
        if sample_weight is not None:
            sample_weight = self._row_weights(sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        terms, _ = self._terms(y_true, y_pred)
        return terms

    def with_parts(self, y_true, y_pred, sample_weight=None):
        """The scalar of equation 13 and, without a second pass, the parts it is made of.

        Args:
            y_true: targets, as in a call.
            y_pred: predictions, as in a call.
            sample_weight: None, `(B,)` or `(B, A)`.

        Returns:
            `(loss, parts)`: a scalar and a `harmonic_tf.ops.Parts` of `(B, A)` tensors that carry
            no gradient, but for `total`. Rows that mining left out have zeros in them.

        Example:

        >>> y_true = {"box": np.zeros((1, 2, 4)), "classification": np.array([[0, -1]])}
        >>> y_pred = {"box": np.zeros((1, 2, 4)), "classification": np.zeros((1, 2, 2))}
        >>> loss, parts = DetectionLoss().with_parts(y_true, y_pred)
        >>> float(parts.p[0, 0]), float(parts.iou[0, 0])
        (0.5, 1.0)
        """
        y_true, y_pred = (
            keras.tree.map_structure(lambda x: ops.convert_to_tensor(x, dtype=self.dtype), y)
            for y in (y_true, y_pred)
        )
        terms, parts = self._terms(y_true, y_pred)
        if sample_weight is not None:
            terms = terms * self._row_weights(sample_weight)
        return ops.sum(terms), parts

    def _terms(self, y_true, y_pred):
        rows = self._rows(y_true, y_pred)
        parts = objective_rows(*rows, self.objective)
        if self.negative_ratio is not None:
            chosen = hard_negatives(
                parts.classification,
                rows.classes,
                parts.positive,
                self.negative_ratio,
                self.min_negatives,
            )
            left_out = parts.total - parts.total  # 0, but NaN stays NaN
            parts = parts._replace(
                total=ops.where(chosen, parts.total, left_out),
                classification=ops.where(chosen, parts.classification, 0.0),
            )
        positives = global_sum(ops.sum(parts.positive))
        return parts.total / ops.maximum(positives, 1.0), parts

    def _row_weights(self, sample_weight):
        weights = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
        return weights[:, None] if len(weights.shape) == 1 else weights

    def _rows(self, y_true, y_pred):
        return rows_of(y_true, y_pred, self.objective.classification)

    def get_config(self):
        settings = {
            name: value if _is_auto(value) else getattr(self.objective, name, value)
            for name, value in self._arguments.items()
        }
        return {**super().get_config(), **settings, "dtype": self.dtype}


def _is_auto(value):
    return isinstance(value, str) and value == "auto"


def _plain(value):
    return value if isinstance(value, str) else tuple(float(v) for v in value)


def _check_mining(ratio, minimum):
    if ratio is not None and not ratio > 0:
        raise ValueError(f"`negative_ratio` must be positive or None. Received: {ratio}")
    if not 0 <= minimum < float("inf"):
        raise ValueError(f"`min_negatives` must be finite and not negative. Received: {minimum}")
