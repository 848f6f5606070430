"""Which rows are learned from: a random sample of positives and background."""

import keras
from keras import ops

from harmonic_tf.ops import BACKGROUND


def subsample_labels(label, count, positive_fraction, seed):
    """Chooses a fixed number of rows an image at random: some positives, the rest background.

    Args:
        label: int tensor `(B, A)`: 0 or more for positives, -1 for background, -2 for rows that
            must not be chosen.
        count: int K. How many rows.
        positive_fraction: float. At most this part of `count` are positives.
        seed: `keras.random.SeedGenerator`.

    Returns:
        `(index, used)`, `(B, K)`: int32 rows, positives first, and whether the row counts: where
        there are too few, others fill up that do not.
    """
    count = min(count, label.shape[1])
    order = keras.random.uniform(ops.shape(label), seed=seed)
    positive, background = label >= 0, ops.equal(label, BACKGROUND)
    positive_order = ops.where(positive, order, -1.0)
    least_chosen = ops.top_k(positive_order, positive_rows(count, positive_fraction))[0][:, -1:]
    chosen = ops.logical_and(positive, positive_order >= least_chosen)
    priority = order + ops.where(chosen, 2.0, 0.0) + ops.where(background, 1.0, 0.0)
    _, index = ops.top_k(priority, count)
    used = ops.take_along_axis(ops.logical_or(chosen, background), index, axis=1)
    return ops.cast(index, "int32"), used


def positive_rows(count, positive_fraction):
    """How many of `count` rows of `subsample_labels` may be positives; they come first."""
    return max(1, int(count * positive_fraction))


def batched_gather(values, index):
    """Of each image's `(B, N, ...)` the rows `(B, K)`: `(B, K, ...)`.

    As `take_along_axis`, but without an index for each of many channels.
    """
    count = ops.shape(values)[1]
    first = count * ops.arange(ops.shape(values)[0], dtype="int32")
    rows = ops.reshape(values, (-1, *values.shape[2:]))
    return ops.take(rows, first[:, None] + ops.cast(index, "int32"), axis=0)
