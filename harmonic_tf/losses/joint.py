"""What all losses on the contract share: rows in, one number out."""

import dataclasses

import keras
from keras import ops

from harmonic_tf.losses.contract import rows_of
from harmonic_tf.losses.mining import hard_negatives
from harmonic_tf.ops import global_sum, objective_rows


class JointLoss(keras.losses.Loss):
    """A loss that sees the boxes and the classes of a detector together.

    Subclasses choose an `Objective`; this class selects the negatives, divides by the number of
    positives and reduces (13). Computes in float32 (float64 if asked) whatever the policy.

    Args:
        objective: `harmonic_tf.ops.Objective`.
        negative_ratio: float or None. Hard-negative mining: in each image only the negatives
            with the highest classification loss enter, at most this many a positive.
        reduction: `"sum"` (the scalar of equation 13), None (its `(B, A)` terms), or another of
            Keras's.
        name: string.
        dtype: `"float32"` or `"float64"`.
    """

    def __init__(self, objective, negative_ratio, reduction, name, dtype):
        wide = keras.dtype_policies.get(dtype or "float32").compute_dtype == "float64"
        super().__init__(name=name, reduction=reduction, dtype="float64" if wide else "float32")
        if negative_ratio is not None and not negative_ratio > 0:
            raise ValueError(
                f"`negative_ratio` must be positive or None. Received: {negative_ratio}"
            )
        self.objective = objective
        self.negative_ratio = negative_ratio

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
                parts.classification, rows.classes, parts.positive, self.negative_ratio
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
        settings = {**dataclasses.asdict(self.objective), "negative_ratio": self.negative_ratio}
        return {
            **super().get_config(),
            **{name: settings[name] for name in self._settings},
            "dtype": self.dtype,
        }
