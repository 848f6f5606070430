"""Masks of objects in an image's pixels, from the frames of their boxes."""

import numpy as np

from harmonic_tf.masks import bilinear_weights

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


def _weights(low, high, cells, length):
    """How much of each cell of a mask is at each pixel's centre, along one axis.

    Returns:
        int and `(n, cells)`: the first pixel of the box, and the weights for its n pixels.
    """
    if not high > low:
        return 0, np.zeros((0, cells), np.float32)
    first, end = (int(np.clip(x, 0, length)) for x in (np.floor(low), np.ceil(high)))
    weights = bilinear_weights(np.arange(first, end) + 0.5, np.array([low, high]), cells)
    return first, weights.astype(np.float32)
