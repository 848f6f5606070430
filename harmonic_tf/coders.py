"""How boxes are written relative to reference boxes, and read back.

A coder is what a detector's targets, its decoding and its loss share. Boxes and reference boxes are
x1, y1, x2, y2. The fused objective knows two codings, `"center_size"` and `"corners"`; `for_loss`
writes a coder's numbers in the one that `loss_coding` names, with the same IoU and the same
differences.
"""

import dataclasses
import math
from typing import ClassVar

import keras
from keras import ops

from harmonic_tf import boxes

FORMATS = (
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
_ONES = (1.0, 1.0, 1.0, 1.0)
#: The largest log ratio that torchvision and Detectron2 decode: 1000 px of an anchor of 16.
TORCHVISION_LARGEST = math.log(1000 / 16)


@dataclasses.dataclass(frozen=True)
class CenterSize:
    """Centres in reference sizes and log ratios of sizes, over a variance (SSD, Faster R-CNN).

    Attributes:
        variance: 4 floats that the deltas are divided by, in the order y, x, height, width.
        largest: float. In decoding, larger log ratios of sizes count as this one.

    Example:

    >>> box, reference = ops.array([0.0, 0.0, 20.0, 10.0]), ops.array([0.0, 0.0, 10.0, 10.0])
    >>> coder = CenterSize((0.1, 0.1, 0.2, 0.2))
    >>> ops.convert_to_numpy(coder.decode(coder.encode(box, reference), reference)).tolist()
    [0.0, 0.0, 20.0, 10.0]
    """

    variance: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    largest: float = boxes.MAX_LOG_SIZE

    name: ClassVar[str] = "center_size"
    loss_coding: ClassVar[str] = "center_size"

    def encode(self, boxes_, reference_boxes):
        """Deltas `(..., 4)` of boxes `(..., 4)`."""
        return boxes.encode(boxes_, reference_boxes, self.variance)

    def decode(self, deltas, reference_boxes):
        """Boxes `(..., 4)` of deltas `(..., 4)`."""
        return boxes.decode(deltas, reference_boxes, self.variance, self.largest)

    def for_loss(self, box_pred, box_true):
        """Predicted and target deltas as the fused objective reads them."""
        return box_pred, box_true


@dataclasses.dataclass(frozen=True)
class Corners:
    """Distances of the corners from the reference's, in reference sizes, over a variance.

    Attributes:
        variance: 4 floats that the deltas are divided by, in the order x1, y1, x2, y2.

    Example:

    >>> box, reference = ops.array([1.0, 0.0, 20.0, 10.0]), ops.array([0.0, 0.0, 10.0, 10.0])
    >>> ops.convert_to_numpy(Corners((0.5, 0.5, 0.5, 0.5)).encode(box, reference)).tolist()
    [0.20000000298023224, 0.0, 2.0, 0.0]
    """

    variance: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.2)

    name: ClassVar[str] = "corners"
    loss_coding: ClassVar[str] = "corners"

    def encode(self, boxes_, reference_boxes):
        """Deltas `(..., 4)` of boxes `(..., 4)`."""
        return (boxes_ - reference_boxes) / self._scale(reference_boxes)

    def decode(self, deltas, reference_boxes):
        """Boxes `(..., 4)` of deltas `(..., 4)`."""
        return reference_boxes + deltas * self._scale(reference_boxes)

    def for_loss(self, box_pred, box_true):
        """Predicted and target deltas as the fused objective reads them."""
        return box_pred, box_true

    def _scale(self, reference_boxes):
        size = ops.maximum(reference_boxes[..., 2:] - reference_boxes[..., :2], 1e-4)
        variance = ops.convert_to_tensor(self.variance, size.dtype)
        return ops.concatenate([size, size], axis=-1) * variance


@dataclasses.dataclass(frozen=True)
class Distances:
    """Distances from a point to the left, top, right and bottom edge, in strides (FCOS).

    A reference box is the square of a stride's side around the point.

    Example:

    >>> box, reference = ops.array([0.0, 4.0, 20.0, 12.0]), ops.array([4.0, 4.0, 12.0, 12.0])
    >>> ops.convert_to_numpy(Distances().encode(box, reference)).tolist()
    [1.0, 0.5, 1.5, 0.5]
    """

    variance: ClassVar[tuple[float, float, float, float]] = _ONES
    name: ClassVar[str] = "distances"
    loss_coding: ClassVar[str] = "corners"

    def encode(self, boxes_, reference_boxes):
        """Distances `(..., 4)` of boxes `(..., 4)`; negative where the point is outside."""
        point, stride = self._point_and_stride(reference_boxes)
        low, high = point - boxes_[..., :2], boxes_[..., 2:] - point
        return ops.concatenate([low / stride, high / stride], axis=-1)

    def decode(self, distances, reference_boxes):
        """Boxes `(..., 4)` of distances `(..., 4)`."""
        point, stride = self._point_and_stride(reference_boxes)
        low, high = distances[..., :2] * stride, distances[..., 2:] * stride
        return ops.concatenate([point - low, point + high], axis=-1)

    def for_loss(self, box_pred, box_true):
        """Predicted and target distances as the fused objective reads them."""
        return tuple(
            ops.concatenate([-distances[..., :2], distances[..., 2:] - 1], axis=-1)
            for distances in (box_pred, box_true)
        )

    def _point_and_stride(self, reference_boxes):
        low, high = reference_boxes[..., :2], reference_boxes[..., 2:]
        return (low + high) / 2, ops.maximum(high - low, 1e-4)


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Plain boxes, whatever the reference: what a model without anchors predicts.

    A loss takes differences of corners in units of the target's size, over the variance.

    Attributes:
        bounding_box_format: Keras's name of their format, such as `"xyxy"`. What is relative to the
            image (`"rel_xyxy"`) stays so.
        variance: 4 floats that the differences are divided by.

    Example:

    >>> box = ops.array([2.0, 4.0, 6.0, 6.0])
    >>> ops.convert_to_numpy(Boxes("center_xywh").encode(box)).tolist()
    [4.0, 5.0, 4.0, 2.0]
    """

    bounding_box_format: str = "xyxy"
    variance: tuple[float, float, float, float] = _ONES

    name: ClassVar[str] = "boxes"
    loss_coding: ClassVar[str] = "corners"

    def __post_init__(self):
        if self.bounding_box_format not in FORMATS:
            raise ValueError(
                f"`bounding_box_format` must be one of {FORMATS}. "
                f"Received: {self.bounding_box_format!r}"
            )

    def encode(self, boxes_, reference_boxes=None):
        """Boxes `(..., 4)` of x1, y1, x2, y2 in the format."""
        return self._convert(boxes_, "xyxy", self._format)

    def decode(self, boxes_, reference_boxes=None):
        """Boxes `(..., 4)` of the format as x1, y1, x2, y2."""
        return self._convert(boxes_, self._format, "xyxy")

    def for_loss(self, box_pred, box_true):
        """Predicted and target boxes as corners relative to the target."""
        target = self.decode(box_true)
        corners = Corners(self.variance)
        return corners.encode(self.decode(box_pred), target), corners.encode(target, target)

    @property
    def _format(self):
        return self.bounding_box_format.removeprefix("rel_")

    def _convert(self, values, source, target):
        if source == target:
            return values
        convert = keras.utils.bounding_boxes.convert_format
        return convert(values, source, target, dtype=keras.backend.standardize_dtype(values.dtype))


CODERS = {cls.name: cls for cls in (CenterSize, Corners, Distances, Boxes)}
