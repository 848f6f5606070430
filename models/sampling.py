"""Which rows are learned from: a sample of positives and background."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from harmonic_tf.ops import BACKGROUND, IGNORED


class Sampler(NamedTuple):
    """How many rows of an image are learned from.

    Attributes:
        count: int K.
        positive_fraction: float. At most this part of them are positives.
    """

    count: int
    positive_fraction: float

    @property
    def positives(self):
        """How many of the rows may be positives; these come first."""
        return max(1, int(self.count * self.positive_fraction))

    def __call__(self, labels, seed=None):
        return subsample_labels(labels, self, seed)


def subsample_labels(labels, sampler, seed=None):
    """Chooses a fixed number of rows of an image: some positives, the rest background.

    Args:
        labels: tensor `(B, A)`: 0 or more for positives, -1 for background, -2 for rows that
            must not be chosen. A may be unknown.
        sampler: `Sampler`.
        seed: `keras.random.SeedGenerator` for a random choice; None for one that is always the
            same, spread over all rows.

    Returns:
        `(index, used)`, `(B, K)`: int32 rows, positives first, and whether the row counts: where
        there are too few, others fill up that do not. K is smaller if A is known to be.
    """
    rows = labels.shape[1]
    if rows is None:
        labels = ops.pad(labels, [[0, 0], [0, sampler.count]], constant_values=IGNORED)
    else:
        sampler = sampler._replace(count=min(sampler.count, rows))
    order = _order(labels, seed)
    positive, background = labels >= 0, ops.equal(labels, BACKGROUND)
    positive_order = ops.where(positive, order, -1.0)
    least_chosen = ops.top_k(positive_order, sampler.positives)[0][:, -1:]
    chosen = ops.logical_and(positive, positive_order >= least_chosen)
    priority = order + ops.where(chosen, 2.0, 0.0) + ops.where(background, 1.0, 0.0)
    _, index = ops.top_k(priority, sampler.count)
    used = ops.take_along_axis(ops.logical_or(chosen, background), index, axis=1)
    if rows is None:  # what fills up may be padding, which is no row
        index = ops.where(used, index, 0)
    return ops.cast(index, "int32"), used


def _order(labels, seed):
    """Numbers from 0 to 1, `(B, A)` or `(1, A)`: the higher, the sooner a row is chosen."""
    if seed is not None:
        return keras.random.uniform(ops.shape(labels), seed=seed)
    # Multiples of the golden ratio fill the unit interval evenly from the first on. Its 20 bits
    # after the point are what is left where the integers overflow.
    golden_ratio = int((np.sqrt(5) - 1) / 2 * 2**20)
    multiples = ops.arange(ops.shape(labels)[1], dtype="int32") * golden_ratio
    fractions = ops.cast(ops.bitwise_and(multiples, 2**20 - 1), "float32") / 2**20
    return ops.broadcast_to(fractions[None], ops.shape(labels))


def batched_gather(values, index):
    """Of each image's `(B, N, ...)` the rows `(B, K)`: `(B, K, ...)`.

    As `take_along_axis`, but without an index for each of many channels.
    """
    count = ops.shape(values)[1]
    first = count * ops.arange(ops.shape(values)[0], dtype="int32")
    rows = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(rows, first[:, None] + ops.cast(index, "int32"), axis=0)
