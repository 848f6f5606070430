"""Images that look the same in two splits: saved again, scaled, or frames of one film.

An image is compared by where its brightness rises from left to right on a grid of 16 x 16 cells (a
difference hash), and by the brightness itself.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from harmonic_tf.training.data.dataset import DetectionData, Sample
from harmonic_tf.training.data.headers import in_parallel, shown
from harmonic_tf.training.data.images import FORMATS, decode

GRID = 16
# Of the 256 signs, so many may differ; and the brightness, of 0 to 255, by so much on average.
MOST_SIGNS, MOST_BRIGHTNESS = 32, 8.0
CHUNK = 512


class Pair(NamedTuple):
    """An image to evaluate on and one to train on that look the same."""

    evaluated: Sample
    trained: Sample


def near_duplicates(train_data: DetectionData, eval_data: DetectionData) -> list[Pair]:
    """Images of the second data set that look like one of the first, each with the nearest one.

    Equal files are found, too. Images that cannot be read are passed over.

    Args:
        train_data: DetectionData.
        eval_data: DetectionData.

    Example:
        >>> near_duplicates(load_data("shapes:train=9"), load_data("shapes:val=9", "eval"))
        []
    """
    trained, evaluated = _looks(train_data), _looks(eval_data)
    if not trained or not evaluated:
        return []
    signs, greys = (np.stack(column) for column in zip(*trained.values(), strict=True))
    names, pairs = list(trained), []
    places = list(evaluated)
    for start in range(0, len(places), CHUNK):
        part = places[start : start + CHUNK]
        # Of rows of -1 and 1: twice as many as differ are missing from their number.
        products = np.stack([evaluated[place][0] for place in part]) @ signs.T
        nearest = products.argmax(axis=1)
        for place, row, index in zip(part, products, nearest, strict=True):
            is_near = (signs.shape[1] - row[index]) / 2 <= MOST_SIGNS
            if is_near and np.abs(evaluated[place][1] - greys[index]).mean() <= MOST_BRIGHTNESS:
                pairs.append(Pair(eval_data.records[place], train_data.records[names[index]]))
    return pairs


def _looks(data: DetectionData) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Place of a record -> its signs and its brightness."""
    found = shown(in_parallel(_look, data.records), len(data))
    return {place: look for place, look in enumerate(found) if look is not None}


def _look(sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        grey = _small_grey(sample)
    except Exception:  # Whatever it is, the image is named elsewhere.
        return None
    rises = grey[:, 1:] > grey[:, :-1]
    return np.where(rises, 1, -1).astype(np.float32).ravel(), grey.ravel()


def _small_grey(sample: Sample) -> np.ndarray:
    """The image as a viewer shows it, grey, `(16, 17)`; a JPEG is decoded at an eighth."""
    content, size = sample.stored(), (GRID + 1, GRID)
    if sample.is_jpeg and sample.orientation == 1:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("L", (4 * GRID, 4 * GRID))
            small = image.convert("L").resize(size, Image.Resampling.BOX)
    else:
        small = decode(content).convert("L").resize(size, Image.Resampling.BOX)
    return np.asarray(small, np.float32)
