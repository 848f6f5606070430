"""Ordinary Keras box losses: boxes `(..., 4)` against boxes `(..., 4)`."""

import keras
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.coders import Boxes
from harmonic_tf.losses.checks import warn_once

_NOT_BOXES = (
    "`y_true` holds boxes whose far edge lies before the near one, as deltas of anchors do, but "
    "{name} takes boxes: a RetinaNet's box_loss is given deltas, so compile it with "
    "HarmonicDetLoss, by harmonic_tf.harmonize where the model is not of harmonic_tf."
)


class BoxLoss(keras.losses.Loss):
    """What the box losses share: formats, checks, and computing in float32 whatever the policy."""

    def __init__(self, bounding_box_format, gamma, reduction, name, dtype):
        wide = keras.dtype_policies.get(dtype or "float32").compute_dtype == "float64"
        super().__init__(name=name, reduction=reduction, dtype="float64" if wide else "float32")
        if not 0 <= gamma <= 1:
            raise ValueError(
                "`gamma` must be between 0 and 1, or the harmonic IoU loss is not monotonic. "
                f"Received: gamma={gamma}"
            )
        self.bounding_box_format = bounding_box_format
        self.gamma = gamma
        self._coder = Boxes(bounding_box_format)
        self._said = []

    def call(self, y_true, y_pred):
        for name, value in (("y_true", y_true), ("y_pred", y_pred)):
            if value.shape[-1] != 4:
                raise ValueError(
                    f"`{name}` must hold boxes, (..., 4). Received the shape {tuple(value.shape)}."
                )
        true, pred = self._coder.decode(y_true), self._coder.decode(y_pred)
        inverted = ops.any(true[..., 2:] < true[..., :2])
        warn_once(inverted, _NOT_BOXES.format(name=type(self).__name__), self._said)
        return self.of_boxes(true, pred) + ops.sum(y_pred - y_pred, axis=-1)

    def of_boxes(self, true, pred):
        """The loss `(...)` of boxes as x1, y1, x2, y2."""
        raise NotImplementedError

    def _harmonic_iou(self, true, pred):
        iou = boxes.iou(true, pred)
        return ops.power(1 + iou, self.gamma) * (1 - iou)

    def get_config(self):
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "gamma": self.gamma,
            "dtype": self.dtype,
        }


@keras.saving.register_keras_serializable(package="harmonic_tf")
class HarmonicIoULoss(BoxLoss):
    """`(1 + IoU)^gamma * (1 - IoU)` of each pair of boxes (10).

    Against the plain IoU loss (9), which is `gamma=0`, it weighs boxes the more the better they
    already are, so that outliers do not dominate. It is zero for equal boxes, 1 for disjoint ones,
    and flat there: `LocalizationLoss` brings these together.

    As `box_loss` of a RetinaNet of KerasCV or KerasHub it would be given deltas of anchors as if
    they were boxes, and warns once it sees that.

    Args:
        bounding_box_format: string. Keras's name of the boxes' format, such as `"xyxy"`,
            `"center_xywh"` or `"rel_yxyx"`. IoU does not depend on the unit, so no image size is
            needed.
        gamma: float in [0, 1]; above 1 the loss is not monotonic.
        reduction: as in any Keras loss.
        name: string.
        dtype: `"float32"`, also for half-precision inputs, or `"float64"`.

    Call arguments:
        y_true: `(..., 4)` boxes.
        y_pred: `(..., 4)` boxes.

    Raises:
        ValueError: for an unknown format, a gamma outside [0, 1], or boxes without 4 numbers.

    Example:

    >>> loss = HarmonicIoULoss("xyxy", gamma=1.0)
    >>> round(float(loss(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1]]))), 4)
    0.75
    """

    def __init__(
        self,
        bounding_box_format="xyxy",
        gamma=0.8,
        reduction="sum_over_batch_size",
        name="harmonic_iou_loss",
        dtype=None,
    ):
        super().__init__(bounding_box_format, gamma, reduction, name, dtype)

    def of_boxes(self, true, pred):
        return self._harmonic_iou(true, pred)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class LocalizationLoss(BoxLoss):
    """Smooth L1 plus the weighed harmonic IoU loss of each pair of boxes, L_loc (11).

    Smooth L1 is summed over the four edges, whose differences are measured in sizes of the target,
    so that it does not depend on the unit either. Unlike `HarmonicIoULoss` alone it has a gradient
    everywhere, also between disjoint boxes.

    Args:
        bounding_box_format: string. As for `HarmonicIoULoss`.
        alpha: float. Weight of the IoU term.
        gamma: float in [0, 1]. Exponent of the harmonic IoU loss.
        reduction: as in any Keras loss.
        name: string.
        dtype: `"float32"`, also for half-precision inputs, or `"float64"`.

    Call arguments:
        y_true: `(..., 4)` boxes.
        y_pred: `(..., 4)` boxes.

    Raises:
        ValueError: for an unknown format, an alpha below 0, a gamma outside [0, 1], or boxes
            without 4 numbers.

    Example:

    >>> loss = LocalizationLoss("xyxy")
    >>> true = np.array([[0.0, 0, 2, 2]])
    >>> float(loss(true, true)), float(loss(true, true + 4.0))  # disjoint: 4 * (2 - 0.5) + 1.5
    (0.0, 7.5)
    """

    def __init__(
        self,
        bounding_box_format="xyxy",
        alpha=1.5,
        gamma=0.8,
        reduction="sum_over_batch_size",
        name="localization_loss",
        dtype=None,
    ):
        super().__init__(bounding_box_format, gamma, reduction, name, dtype)
        if not 0 <= alpha < float("inf"):
            raise ValueError(f"`alpha` must be finite and not negative. Received: {alpha}")
        self.alpha = alpha

    def of_boxes(self, true, pred):
        size = ops.maximum(true[..., 2:] - true[..., :2], 1e-4)
        difference = ops.abs(pred - true) / ops.concatenate([size, size], axis=-1)
        smooth_l1 = ops.where(difference < 1, difference**2 / 2, difference - 0.5)
        return ops.sum(smooth_l1, axis=-1) + self.alpha * self._harmonic_iou(true, pred)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
