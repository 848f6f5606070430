"""The harmonic IoU loss as an ordinary Keras box loss."""

import keras
from keras import ops

from harmonic_tf import boxes

_FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class HarmonicIoULoss(keras.losses.Loss):
    """`(1 + IoU)^gamma * (1 - IoU)` of each pair of boxes (10).

    Against the plain IoU loss (9), which is `gamma=0`, it weighs boxes the more the better they
    already are, so that outliers do not dominate. It is zero for equal boxes, 1 for disjoint ones.

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
        wide = keras.dtype_policies.get(dtype or "float32").compute_dtype == "float64"
        super().__init__(name=name, reduction=reduction, dtype="float64" if wide else "float32")
        if bounding_box_format not in _FORMATS:
            raise ValueError(
                f"`bounding_box_format` must be one of {_FORMATS}. "
                f"Received: {bounding_box_format!r}"
            )
        if not 0 <= gamma <= 1:
            raise ValueError(
                "`gamma` must be between 0 and 1, or the harmonic IoU loss is not monotonic. "
                f"Received: gamma={gamma}"
            )
        self.bounding_box_format = bounding_box_format
        self.gamma = gamma

    def call(self, y_true, y_pred):
        for name, value in (("y_true", y_true), ("y_pred", y_pred)):
            if value.shape[-1] != 4:
                raise ValueError(
                    f"`{name}` must hold boxes, (..., 4). Received the shape {tuple(value.shape)}."
                )
        iou = boxes.iou(self._to_xyxy(y_true), self._to_xyxy(y_pred))
        return ops.power(1 + iou, self.gamma) * (1 - iou) + ops.sum(y_pred - y_pred, axis=-1)

    def _to_xyxy(self, values):
        source = self.bounding_box_format.removeprefix("rel_")
        return keras.utils.bounding_boxes.convert_format(values, source, "xyxy", dtype=self.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "bounding_box_format": self.bounding_box_format,
            "gamma": self.gamma,
            "dtype": self.dtype,
        }
