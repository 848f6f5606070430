"""Reads one-hot rows inside a wider tensor, without a copy of them."""

import functools

import numpy as np
from keras import ops

from harmonic_tf.ops.compilation import compiled, in_chunks


def one_hot_sums(tensor, start, columns):
    """What tells the class of one-hot rows, which may have been smoothed.

    Args:
        tensor: float tensor `(B, A, W)`.
        start: int. The first column that counts.
        columns: int. How many do.

    Returns:
        Three tensors `(B, A)`: the sum of the numbers, from 0, of the columns over 0.5; how many
        these are; and how many are not 0.

    Example:

    >>> rows = np.array([[[9.0, 0.1, 0.9], [9.0, 0.0, 0.0]]], "float32")
    >>> [np.asarray(x).tolist() for x in one_hot_sums(rows, 1, 2)]
    [[[1.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]]]
    """
    read = _compiled(tensor.shape[-1], start, columns)
    sums = read(ops.reshape(ops.stop_gradient(tensor), (-1, tensor.shape[-1])))
    return tuple(ops.reshape(x, ops.shape(tensor)[:-1]) for x in ops.unstack(sums, axis=-1))


@functools.lru_cache(maxsize=None)
def _compiled(width, start, columns):
    weights = np.zeros((width, 2))
    weights[start : start + columns] = np.stack([np.arange(columns), np.ones(columns)], -1)

    def read(rows):
        over, filled = (ops.cast(x, rows.dtype) for x in (rows > 0.5, ops.not_equal(rows, 0)))
        numbers = ops.convert_to_tensor(weights, rows.dtype)
        return (
            ops.concatenate(
                [ops.matmul(over, numbers), ops.matmul(filled, numbers[:, 1:])], axis=-1
            ),
        )

    chunked = in_chunks(read, (3,))
    return compiled(lambda rows: chunked(rows)[0])
