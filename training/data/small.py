"""Objects that are smaller than a pixel once their image has the size of a network's input."""

from typing import NamedTuple

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData


class SmallObjects(NamedTuple):
    """How many objects vanish in an input of some size.

    Attributes:
        count: int. Objects less than a pixel wide or high there.
        total: int. All objects but crowd regions.
        keeping: (int, int). Height and width of the smallest input, at least as large in both,
            that keeps all of them.
    """

    count: int
    total: int
    keeping: tuple[int, int]


def small_objects(
    data: DetectionData, image_size: tuple[int, int], resize: str = "stretch"
) -> SmallObjects:
    """Counts the objects that an input of this size cannot show.

    Args:
        data: DetectionData.
        image_size: (int, int). Height and width of the network's input.
        resize: str. "stretch" or "letterbox", as in `train_batches`.

    Returns:
        SmallObjects.

    Example:
        >>> small_objects(load_data("shapes:train=20"), (160, 208)).count
        0
    """
    counted = [~record.objects.crowd for record in data.records]
    boxes = [r.objects.boxes[keep] for r, keep in zip(data.records, counted, strict=True)]
    sides = np.concatenate([b[:, [3, 2]] - b[:, [1, 0]] for b in boxes]).astype(np.float64)
    sizes = np.array([(r.height, r.width) for r in data.records], np.float64)
    sizes = np.repeat(sizes, [len(b) for b in boxes], axis=0)
    scales = np.array(image_size) / sizes
    needed = 1 / sides
    if resize == "letterbox":
        scales = scales.min(axis=1, keepdims=True)
        needed = needed.max(axis=1, keepdims=True)
    # What rounding takes from a box of exactly a pixel does not count.
    vanish = (sides * scales < 1 - 1e-6).any(axis=1)
    keeping = np.ceil((needed * sizes).max(axis=0, initial=1) - 1e-6).astype(int)
    height, width = np.maximum(keeping, image_size).tolist()
    return SmallObjects(int(vanish.sum()), len(sides), (height, width))
