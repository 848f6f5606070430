"""Masks of objects, each in the frame of its box: `(..., S, S)`, whatever the image's size."""

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


def _weights(box, frame, cells, size):
    """How much of each of the box's cells is in each of the frame's, along one axis.

    Args:
        box: `(..., 2)`, the box's low and high edge.
        frame: `(..., 2)`, the frame's.
        cells: int S. The mask's cells.
        size: int T. The frame's.

    Returns:
        `(..., T, S)`.
    """
    low, extent = box[..., :1], box[..., 1:] - box[..., :1]
    has_extent = extent > 0
    centres = (ops.arange(size, dtype=box.dtype) + 0.5) / size
    places = frame[..., :1] + (frame[..., 1:] - frame[..., :1]) * centres
    places = (places - low) / ops.where(has_extent, extent, 1.0) * cells - 0.5
    numbers = ops.arange(cells, dtype=box.dtype)
    weights = ops.maximum(1.0 - ops.abs(places[..., None] - numbers), 0.0)
    return ops.where(has_extent[..., None], weights, 0.0)
