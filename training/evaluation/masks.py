"""Masks of objects in an image's pixels: from the frame of a box, and to and from run lengths."""

import numpy as np

THRESHOLD = 0.5


def paste(mask, box, size):
    """Shows the mask of a box in the image's pixels.

    A pixel is on where the mask is at least 0.5 at its centre, bilinearly between the centres of
    the mask's cells; outside of its box a mask is 0. As in Detectron2.

    Args:
        mask: float array `(S, S)`, from 0 to 1, in the frame of the box.
        box: array (4,). x1, y1, x2, y2 in pixels. One without area shows nothing.
        size: (int, int). Height and width of the image.

    Returns:
        bool array `(height, width)`.

    Example:

    >>> paste(np.array([[1.0, 0.0]] * 2), [1, 0, 5, 2], (2, 6)).astype(int)
    array([[0, 1, 1, 0, 0, 0],
           [0, 1, 1, 0, 0, 0]])
    """
    mask = np.asarray(mask, np.float32)
    x1, y1, x2, y2 = np.asarray(box, np.float64).tolist()
    height, width = map(int, size)
    first_row, rows = _weights(y1, y2, mask.shape[0], height)
    first_column, columns = _weights(x1, x2, mask.shape[1], width)
    # By columns, which is the order of run lengths.
    image = np.zeros((width, height), bool).T
    window = (
        slice(first_row, first_row + len(rows)),
        slice(first_column, first_column + len(columns)),
    )
    image[window] = rows @ (mask @ columns.T) >= THRESHOLD
    return image


def encode(mask):
    """The run lengths of a mask.

    Args:
        mask: bool array `(height, width)`.

    Returns:
        Dict. COCO's compressed RLE: `size` [height, width] and `counts`, str.

    Example:

    >>> decode(encode(np.eye(2, dtype=bool))).tolist()
    [[True, False], [False, True]]
    """
    flat = np.ravel(mask, order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(changes, prepend=0, append=flat.size).tolist()
    # The first run is of what is off.
    counts = [0, *counts] if flat[0] else counts
    return rle({"size": list(mask.shape), "counts": counts}, mask.shape)


def rle(segmentation, size):
    """An annotated mask as run lengths.

    Args:
        segmentation: mask in COCO's forms: list of polygons, or RLE, compressed or not.
        size: (int, int). Height and width of the image.

    Returns:
        Dict. COCO's compressed RLE, as `encode` gives it.
    """
    from faster_coco_eval import mask

    height, width = map(int, size)
    found = mask.segmToRle(segmentation, width, height)
    counts = found["counts"]
    return {
        "size": [int(length) for length in found["size"]],
        "counts": counts.decode() if isinstance(counts, bytes) else counts,
    }


def decode(rle):
    """The mask of compressed run lengths, a bool array `(height, width)`."""
    from faster_coco_eval import mask

    return mask.decode(rle).astype(bool)


def _weights(low, high, cells, length):
    """How much of each cell of a mask is at each pixel's centre, along one axis.

    Returns:
        int and `(n, cells)`: the first pixel of the box, and the weights for its n pixels.
    """
    if not high > low:
        return 0, np.zeros((0, cells), np.float32)
    first, end = (int(np.clip(x, 0, length)) for x in (np.floor(low), np.ceil(high)))
    centres = np.arange(first, end) + 0.5
    places = (centres - low) / (high - low) * cells - 0.5
    weights = np.maximum(1.0 - np.abs(places[:, None] - np.arange(cells)), 0.0)
    return first, weights.astype(np.float32)
