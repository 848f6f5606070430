"""Compiles one tensor function with what the backend offers."""

import os

import keras
from keras import ops

# How many numbers one core works on at a time: they fit its second-level cache.
_NUMBERS_PER_CORE = 204_800


def compiled(function):
    """Returns `function`, compiled by XLA on TensorFlow and JAX, as it is on PyTorch.

    On a CPU, XLA makes a chain of elementwise operations several times faster, but slows down
    convolutions: so single operations are compiled here and models are left alone.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def in_chunks(function, widths, computed):
    """Returns a function of rows that, on a CPU, works on some hundred rows at a time.

    XLA stores what a sum is made of before it sums. In chunks these intermediates are never larger
    than a processor's cache, instead of several times the logits; the time is about the same. The
    result is to be `compiled`.

    Args:
        function: takes tensors `(rows, ...)` and returns a tuple of `(rows, width)`, in the dtype
            of the first tensor. A row may depend on the same row of the arguments only.
        widths: tuple of the `width` of each result.
        computed: int. How many numbers `function` computes from each of the first tensor's.
    """
    if not _compiled_for_cpu():
        return function

    def run(*tensors):
        total = ops.shape(tensors[0])[0]
        numbers = (os.cpu_count() or 1) * _NUMBERS_PER_CORE // computed
        size = numbers // tensors[0].shape[-1] + 1
        size = min(size, total) if isinstance(total, int) else ops.minimum(size, total)

        def step(start, *results):
            begin = ops.minimum(start, total - size)
            chunk = function(*(_rows(x, begin, size) for x in tensors))
            done = (
                ops.slice_update(result, (begin, 0), part)
                for result, part in zip(results, chunk, strict=True)
            )
            return (start + size, *done)

        results = (ops.zeros((total, width), tensors[0].dtype) for width in widths)
        _, *results = ops.while_loop(lambda start, *_: start < total, step, (0, *results))
        return tuple(results)

    return run


def row_sum(x):
    """Sum over the last axis, written so that the backend adds up fast.

    On a CPU, XLA adds the numbers of a row one after another, each waiting for the one before; a
    product with ones it spreads over the processor's lanes. (On a GPU the product would be the
    slower of the two, and rounded.)
    """
    if not _compiled_for_cpu():
        return ops.sum(x, axis=-1)
    return ops.matmul(x, ops.ones((ops.shape(x)[-1], 1), x.dtype))[..., 0]


def _rows(tensor, begin, size):
    rest = tensor.shape[1:]
    return ops.slice(tensor, (begin, *(0 for _ in rest)), (size, *rest))


def _compiled_for_cpu():
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_logical_devices("GPU")
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False
