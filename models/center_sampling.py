"""Which location learns which object where there are no anchors (Tian et al. 2019)."""

import dataclasses
import functools

from keras import ops

from harmonic_tf import boxes
from harmonic_tf.models.matching import pad_objects
from harmonic_tf.models.sampling import batched_gather
from harmonic_tf.ops import BACKGROUND
from harmonic_tf.ops.compilation import compiled


@dataclasses.dataclass(frozen=True)
class CenterSampling:
    """Targets of a stage whose reference boxes are squares of one stride around its locations.

    A location learns an object that it lies in, if it is near the object's centre along both axes,
    and if the object's farthest edge is at the distance that its level is there for: between half
    of `reach` strides and `reach` strides, from 0 on at the finest level and without end at the
    coarsest. Of several objects it learns the smallest. All other locations are background.

    Attributes:
        radius: float. How far from an object's centre it is learned, in strides.
        reach: float. How far from a location the edges of its objects are, in strides; 8 makes the
            64, 128, 256 and 512 px of the paper at strides of 8 to 64.
    """

    radius: float = 1.5
    reach: float = 8.0

    def __post_init__(self):
        if not (self.radius > 0 and self.reach > 0):
            raise ValueError(
                "`radius` and `reach` must be positive numbers of strides. "
                f"Received: radius={self.radius!r}, reach={self.reach!r}"
            )

    def __call__(self, row, truth):
        """The `y_true` of the contract for a `Row` of a stage and ground truth."""
        encode = _compiled(self, row.stage.coder)
        squares = ops.convert_to_tensor(row.reference_boxes, "float32")
        box, classification = encode(squares, *pad_objects(truth["boxes"], truth["classes"]))
        return {"box": box, "classification": classification}


def assign(squares, gt_boxes, sampling):
    """Which object each location learns.

    Args:
        squares: `(A, 4)`, x1, y1, x2, y2: a square of one stride around each location.
        gt_boxes: `(B, M, 4)`, of the same format; a box without area stands for none.
        sampling: `CenterSampling`.

    Returns:
        `(index, positive)`, `(B, A)`: int32 object of the location, and whether it learns it.
    """
    stride = squares[:, 2:3] - squares[:, :1]
    point = (squares[:, None, :2] + squares[:, None, 2:]) / 2
    low, high = gt_boxes[:, None, :, :2], gt_boxes[:, None, :, 2:]
    edges = ops.concatenate([point - low, high - point], axis=-1)
    nearest, farthest = ops.min(edges, axis=-1), ops.max(edges, axis=-1)
    from_centre = ops.max(ops.abs(point - (low + high) / 2), axis=-1)
    least = ops.where(stride > ops.min(stride), sampling.reach / 2 * stride, 0.0)
    most = ops.where(stride < ops.max(stride), sampling.reach * stride, float("inf"))
    learns = functools.reduce(
        ops.logical_and,
        (
            boxes.has_area(gt_boxes)[:, None],
            nearest > 0,
            from_centre < sampling.radius * stride,
            farthest >= least,
            farthest <= most,
        ),
    )
    return smallest(learns, gt_boxes)


def smallest(learns, gt_boxes):
    """Of the objects that a location may learn, the smallest.

    Args:
        learns: bool `(B, A, M)`.
        gt_boxes: `(B, M, 4)`.

    Returns:
        `(index, positive)`, `(B, A)`: int32 object of the location, and whether there is one.
    """
    area = ops.prod(gt_boxes[..., 2:] - gt_boxes[..., :2], axis=-1)
    area = ops.where(learns, area[:, None], float("inf"))
    return ops.cast(ops.argmin(area, axis=2), "int32"), ops.any(learns, axis=2)


@functools.lru_cache(maxsize=None)
def _compiled(sampling, coder):
    def encode(squares, gt_boxes, gt_classes):
        index, positive = assign(squares, gt_boxes, sampling)
        box = coder.encode(batched_gather(gt_boxes, index), squares)
        classes = ops.where(positive, batched_gather(gt_classes, index), float(BACKGROUND))
        return ops.where(positive[..., None], box, 0.0), classes

    return compiled(encode)
