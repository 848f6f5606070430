"""What all losses on the contract share: rows in, one number out."""

import keras
from keras import ops

from harmonic_tf.layouts import config_of, layout_of
from harmonic_tf.losses.contract import AUTO, Contract, is_auto
from harmonic_tf.losses.mining import hard_negatives
from harmonic_tf.ops import global_sum, objective_rows
from harmonic_tf.ops.settings import require_numbers

# What a detector's predictions are, so that no loss can choose it.
_FORM = ("classification", "box_variance")


class JointLoss(keras.losses.Loss):
    """A loss that sees the boxes and the classes of a detector together.

    A subclass's constructor names its settings, once, with their defaults, and hands them on as
    `super().__init__(locals())`. This class selects the negatives, divides by the number of
    positives and reduces (13). Computes in float32 (float64 if asked) whatever the policy.

    Args:
        arguments: dict. The subclass's `locals()`: fields of `harmonic_tf.ops.Settings`, `"auto"`
            where a detector may choose; `layout`; `negative_ratio` and `min_negatives` (see
            `harmonic_tf.losses.mining`); Keras's `reduction`, `name` and `dtype`.
        **fixed: the settings that the subclass does not leave open.
    """

    def __init__(self, arguments, **fixed):
        own = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}
        reduction, name, dtype = (own.pop(key) for key in ("reduction", "name", "dtype"))
        wide = keras.dtype_policies.get(dtype or "float32").compute_dtype == "float64"
        super().__init__(name=name, reduction=reduction, dtype="float64" if wide else "float32")
        self._arguments = dict(own)

        ratio = own.pop("negative_ratio", None)
        self.negative_ratio = AUTO["negative_ratio"] if is_auto(ratio) else ratio
        self.min_negatives = own.pop("min_negatives", 0)
        _check_mining(self.negative_ratio, self.min_negatives)
        self._contract = Contract(**own, **fixed)
        self.objective, self.layout = self._contract.settings, self._contract.layout

    def for_detector(self, loss_settings):
        """This loss as a detector needs it: every `"auto"` is filled from the detector's settings.

        Args:
            loss_settings: dict. A detector's `loss_settings`: `classification`, `box_variance`,
                `negative_ratio`; and `layout`, if its boxes are not coded as centre and size. Also
                `box_loss`, its standard one.

        Returns:
            A loss of the same class and config otherwise. `negative_ratio` and `box_loss` are the
            detector's only if they are `"auto"` here: what was set stays.

        Raises:
            ValueError: if `classification` or `box_variance` was set, and otherwise than the
                detector's, or if there is a layout other than the detector's.

        Example:

        >>> loss = HarmonicDetLoss(negative_ratio=None)
        >>> settings = {"classification": "focal", "box_variance": [1, 1, 1, 1]}
        >>> config = loss.for_detector({**settings, "negative_ratio": 3.0}).get_config()
        >>> config["classification"], config["box_variance"], config["negative_ratio"]
        ('focal', (1.0, 1.0, 1.0, 1.0), None)
        """
        layout = layout_of(loss_settings.get("layout"))
        if self.layout not in (None, layout):
            raise ValueError(
                f"`layout` of {type(self).__name__} must be None in a model that says itself how "
                "it writes boxes and classes: a detector of harmonic_tf, or what `harmonize` "
                f"returned. Received: {self.get_config()['layout']!r}"
            )
        config = {**self.get_config(), "layout": layout}
        for name, wanted in loss_settings.items():
            if name not in self._arguments or name == "layout":
                continue
            if is_auto(self._arguments[name]):
                config[name] = wanted
            elif name in _FORM and _plain(config[name]) != _plain(wanted):
                raise ValueError(
                    f"`{name}` of {type(self).__name__} must be the detector's, {wanted!r}, or "
                    f'"auto", which takes it from there. Received: {config[name]!r}'
                )
        return type(self).from_config(config)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """As any Keras loss; `sample_weight` weighs images, `(B,)`, or rows, `(B, A)`."""
        if sample_weight is not None:
            sample_weight = self._row_weights(sample_weight)
        y_true, y_pred = self._contract.tensors(y_true, y_pred, self.dtype)
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
        y_true, y_pred = self._contract.tensors(y_true, y_pred, self.dtype)
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
        # Keras hands the weights of NumPy arrays to every leaf of `y_true`, all the same.
        sample_weight = keras.tree.flatten(sample_weight)[0]
        weights = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
        return weights[:, None] if len(weights.shape) == 1 else weights

    def _rows(self, y_true, y_pred):
        return self._contract.rows(y_true, y_pred)

    def get_config(self):
        settings = dict(self._arguments, layout=config_of(self.layout))
        if not is_auto(settings["box_variance"]):
            settings["box_variance"] = tuple(float(v) for v in settings["box_variance"])
        return {**super().get_config(), **settings, "dtype": self.dtype}


def _plain(value):
    return value if isinstance(value, str) else tuple(float(v) for v in value)


def _check_mining(ratio, minimum):
    require_numbers(min_negatives=minimum, **{} if ratio is None else {"negative_ratio": ratio})
    if ratio is not None and not ratio > 0:
        raise ValueError(f"`negative_ratio` must be positive or None. Received: {ratio}")
    if not 0 <= minimum < float("inf") or minimum != int(minimum):
        raise ValueError(f"`min_negatives` must be a whole number from 0 on. Received: {minimum}")
