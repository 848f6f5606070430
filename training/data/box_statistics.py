"""Boxes of a whole data set, as one looks at them: sizes, places and shapes.

Crowd regions are no objects.
"""

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData

# Inputs of the detectors' presets, height and width.
INPUTS = ((160, 208), (300, 300), (512, 512), (800, 800))


def relative_boxes(data: DetectionData) -> np.ndarray:
    """The boxes of all objects in fractions of their image's width and height.

    Returns:
        float64 `(N, 4)`. (x1, y1, x2, y2).
    """
    parts = [
        record.objects.boxes[~record.objects.crowd]
        / np.array([record.width, record.height] * 2, np.float64)
        for record in data.records
    ]
    return np.concatenate([np.zeros((0, 4)), *parts])


def input_sizes(data: DetectionData, image_size: tuple[int, int]) -> np.ndarray:
    """The square roots of the boxes' areas in pixels of a network's input, to which images are
    stretched.

    Args:
        data: DetectionData.
        image_size: (int, int). Height and width of the input.

    Returns:
        float64 `(N,)`.
    """
    boxes = relative_boxes(data)
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) * np.prod(image_size))


def centres(data: DetectionData) -> np.ndarray:
    """The middles of the boxes in fractions of the image, (x, y): float64 `(N, 2)`."""
    boxes = relative_boxes(data)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def aspect_ratios(data: DetectionData) -> np.ndarray:
    """Width over height of the boxes, in pixels of the original images: float64 `(N,)`."""
    parts = [r.objects.boxes[~r.objects.crowd].astype(np.float64) for r in data.records]
    boxes = np.concatenate([np.zeros((0, 4)), *parts])
    return (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])


def share_by_place(data: DetectionData) -> np.ndarray:
    """How many of the boxes have their middle in each ninth of the image: float64 `(3, 3)`, rows
    from the top down, in sum 1 (0 without objects)."""
    x, y = np.minimum((3 * centres(data)).astype(int), 2).T
    counts = np.zeros((3, 3))
    np.add.at(counts, (y, x), 1)
    return counts / max(1, len(x))
