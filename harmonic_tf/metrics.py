"""Keras metrics that show whether score and IoU agree, on the contract of the losses."""

import keras
from keras import ops

from harmonic_tf.layouts import config_of
from harmonic_tf.losses.contract import Contract
from harmonic_tf.ops import objective_rows


class PositiveMetric(keras.metrics.Metric):
    """A number averaged over the positives of all batches; subclasses say which, in `value`.

    Args:
        classification: `"softmax"`, `"focal"` or `"auto"`: the form of the logits; without a
            layout `"auto"` is softmax.
        box_variance: 4 floats that the deltas were divided by; `"auto"`: 0.1, 0.1, 0.2, 0.2.
        layout: None, a `harmonic_tf.Layout` or its name, as for the losses.
        reduction: `"mean"` over the positives (0 if there were none), or `"sum"`.
        name: string.
        dtype: dtype of the result.
    """

    def __init__(
        self,
        classification="auto",
        box_variance="auto",
        layout=None,
        reduction="mean",
        name=None,
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if reduction not in ("mean", "sum"):
            raise ValueError(f'`reduction` must be "mean" or "sum". Received: {reduction!r}')
        self.reduction = reduction
        self._arguments = {"classification": classification, "box_variance": box_variance}
        self._contract = Contract(**self._arguments, layout=layout, contrastive=False)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def value(self, parts):
        """The `(B, A)` tensor to average, from `harmonic_tf.ops.Parts`."""
        raise NotImplementedError

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch, given as the losses are: dictionaries or packed tensors."""
        rows = self._contract.rows(*self._contract.tensors(y_true, y_pred, "float32"))
        self.update_from_parts(objective_rows(*rows, self._contract.settings), sample_weight)

    def update_from_parts(self, parts, sample_weight=None):
        """Adds a batch whose `Parts` a loss has already computed.

        Args:
            parts: `harmonic_tf.ops.Parts`.
            sample_weight: None, `(B,)` or `(B, A)`.
        """
        weight = parts.positive
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, weight.dtype)
            if len(sample_weight.shape) == 1:
                sample_weight = sample_weight[:, None]
            weight = weight * sample_weight
        self.total.assign_add(ops.cast(ops.sum(self.value(parts) * weight), self.dtype))
        self.count.assign_add(ops.cast(ops.sum(weight), self.dtype))

    def result(self):
        if self.reduction == "sum":
            return ops.convert_to_tensor(self.total)
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self):
        return {
            **super().get_config(),
            **self._arguments,
            "layout": config_of(self._contract.layout),
            "reduction": self.reduction,
        }


@keras.saving.register_keras_serializable(package="harmonic_tf")
class InconsistencyCoefficient(PositiveMetric):
    """Average inconsistency coefficient: |p - IoU| over the positives (14).

    The paper writes a sum and names it an average; the default is the mean. It falls also when
    all positives just score higher, so read it beside `MeanScore`.

    Args:
        classification: `"softmax"`, `"focal"` or `"auto"`: the form of the logits; without a
            layout `"auto"` is softmax.
        box_variance: 4 floats that the deltas were divided by; `"auto"`: 0.1, 0.1, 0.2, 0.2.
        layout: None, a `harmonic_tf.Layout` or its name, as for the losses.
        reduction: `"mean"` over the positives (0 if there were none), or `"sum"`.
        name: string.
        dtype: dtype of the result.

    Example:

    >>> metric = InconsistencyCoefficient()
    >>> y_true = {"box": np.zeros((1, 1, 4)), "classification": np.array([[0]])}
    >>> y_pred = {"box": np.zeros((1, 1, 4)), "classification": np.zeros((1, 1, 2))}
    >>> float(metric(y_true, y_pred))  # p = 0.5, IoU = 1
    0.5
    """

    def __init__(self, *args, name="aic", **kwargs):
        super().__init__(*args, name=name, **kwargs)

    def value(self, parts):
        return ops.abs(parts.p - parts.iou)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class MeanScore(PositiveMetric):
    """Mean predicted probability of the right class, over the positives."""

    def __init__(self, *args, name="mean_p", **kwargs):
        super().__init__(*args, name=name, **kwargs)

    def value(self, parts):
        return parts.p


@keras.saving.register_keras_serializable(package="harmonic_tf")
class MeanHarmonicFactor(PositiveMetric):
    """Mean harmonic factor beta_r = exp(-L_loc) or beta_c = p over the positives (3).

    The paper's Figure 4 (a) draws one plus each. Outside a detector, where `update_state` sees
    targets and predictions alone, L_loc is that of the default `HarmonicDetLoss`.

    Args:
        factor: `"beta_r"` or `"beta_c"`.
        name: string. Defaults to the factor.
        **kwargs: as for `InconsistencyCoefficient`.
    """

    def __init__(self, factor, name=None, **kwargs):
        if factor not in ("beta_r", "beta_c"):
            raise ValueError(f'`factor` must be "beta_r" or "beta_c". Received: {factor!r}')
        super().__init__(name=name or factor, **kwargs)
        self.factor = factor

    def value(self, parts):
        return getattr(parts, self.factor)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
