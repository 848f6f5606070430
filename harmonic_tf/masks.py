"""Masks of objects, each in the frame of its box: `(..., S, S)`, whatever the image's size."""

import numpy as np
from keras import ops


def resample(masks, boxes, frames, size):
    """Shows masks in the frames of other boxes, bilinearly; outside of its box a mask is 0.

    Cell (i, j) of an S x S mask is the image's part from i / S to (i + 1) / S of the box's height
    and j / S to (j + 1) / S of its width; its value holds for the centre.

    Args:
        masks: float tensor `(..., S, S)`, from 0 to 1.
        boxes: float tensor `(..., 4)`, x1, y1, x2, y2: where the masks are. One without area shows
            nothing.
        frames: float tensor `(..., 4)`: where to look.
        size: int T, or a pair of ints for height and width.

    Returns:
        Tensor `(..., T, T)`.

    Example:

    >>> mask = ops.array([[0.0, 1.0], [0.0, 1.0]])
    >>> box, right_half = ops.array([0.0, 0.0, 8.0, 8.0]), ops.array([4.0, 0.0, 8.0, 8.0])
    >>> ops.convert_to_numpy(resample(mask, box, right_half, 1)).tolist()
    [[1.0]]
    """
    height, width = (size, size) if isinstance(size, int) else size
    rows = _weights(boxes[..., 1::2], frames[..., 1::2], masks.shape[-2], height)
    columns = _weights(boxes[..., 0::2], frames[..., 0::2], masks.shape[-1], width)
    return ops.matmul(ops.matmul(rows, masks), ops.swapaxes(columns, -1, -2))


def bilinear_weights(points, edges, cells):
    """How much of each of a mask's cells is at each of some points, along one axis.

    Args:
        points: float `(..., T)`, tensor or NumPy array. Where to look.
        edges: float `(..., 2)`, of the same kind: the low and high edge of the mask's box. A box
            without extent shows nothing.
        cells: int S. The mask's cells.

    Returns:
        `(..., T, S)`, of the same kind: linear between the centres of the cells, 0 beyond.

    Example:

    >>> bilinear_weights(np.array([0.5, 1.0]), np.array([0.0, 2.0]), 2).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    xp = np if isinstance(points, np.ndarray) else ops
    low, extent = edges[..., :1], edges[..., 1:] - edges[..., :1]
    has_extent = extent > 0
    places = (points - low) / xp.where(has_extent, extent, 1.0) * cells - 0.5
    numbers = xp.arange(cells, dtype=points.dtype)
    weights = xp.maximum(1.0 - xp.abs(places[..., None] - numbers), 0.0)
    return xp.where(has_extent[..., None], weights, 0.0)


def _weights(box, frame, cells, size):
    """The weights at the centres of a frame's `size` cells: `(..., size, cells)`."""
    centres = (ops.arange(size, dtype=box.dtype) + 0.5) / size
    points = frame[..., :1] + (frame[..., 1:] - frame[..., :1]) * centres
    return bilinear_weights(points, box, cells)
