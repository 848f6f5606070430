"""Reads one-hot rows inside a wider tensor, without a copy of them."""

import functools

import numpy as np
from keras import ops

from harmonic_tf.ops.compilation import compiled, in_chunks


def one_hot_classes(tensor, start, classes, empty, mixed):
    """The class of each one-hot row, which may have been smoothed: that of its entry over 0.5.

    Args:
        tensor: float tensor `(B, A, W)`.
        start: int. The first column that counts.
        classes: tuple of ints. The class that each column from there on stands for.
        empty: int. What a row of zeros is.
        mixed: int. What another row is that has no entry over 0.5, or several.

    Returns:
        Tensor `(B, A)` of whole numbers, in the dtype of `tensor`.

    Example:

    >>> rows = np.array([[[9.0, 0.1, 0.9], [9.0, 0.0, 0.0], [9.0, 0.5, 0.5]]], "float32")
    >>> np.asarray(one_hot_classes(rows, 1, (0, 1), empty=-1, mixed=-3)).tolist()
    [[1.0, -1.0, -3.0]]
    """
    read = _compiled(tensor.shape[-1], start, classes, empty, mixed)
    rows = ops.reshape(ops.stop_gradient(tensor), (-1, tensor.shape[-1]))
    return ops.reshape(read(rows), ops.shape(tensor)[:-1])


@functools.lru_cache(maxsize=None)
def _compiled(width, start, classes, empty, mixed):
    weights = np.zeros((width, 2))
    weights[start : start + len(classes)] = np.stack([classes, np.ones(len(classes))], axis=-1)
    # What an entry that is neither over 0.5 nor 0 adds to the sums: altogether less than a half. So
    # one matrix product tells the class, how many entries are over 0.5 and whether any is not 0.
    trace = 2.0 ** -np.ceil(2 * np.log2(len(classes)) + 2)

    def read(rows):
        marks = ops.where(rows > 0.5, 1.0, ops.where(ops.not_equal(rows, 0), trace, 0.0))
        marks = ops.cast(marks, rows.dtype)
        sums = ops.matmul(marks, ops.convert_to_tensor(weights, rows.dtype))
        index, count = sums[:, :1], sums[:, 1:]
        without = ops.cast(ops.where(count > 0, mixed, empty), rows.dtype)
        return (ops.where(ops.equal(ops.round(count), 1), ops.round(index), without),)

    chunked = in_chunks(read, (1,), computed=1)
    return compiled(lambda rows: chunked(rows)[0])
