"""Values that a loss refuses or warns of, wherever they can be read.

Outside a compiled graph they are read at once, on another device than the CPU only at the first
call. In TensorFlow's graphs an assertion does it, which XLA leaves out; in JAX's a callback.
"""

import warnings

import keras
import numpy as np
from keras import ops
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

# Rows that are looked at for a warning.
_SAMPLE = 256


def refuse(wrong, values, message, cause=lambda value: "", on_device=True):
    """Raises where a value is wrong.

    Args:
        wrong: bool tensor of the shape of `values`.
        values: tensor.
        message: string. What was expected.
        cause: function from a wrong value to its likely cause, a sentence that follows.
        on_device: bool. Whether to read what lies on another device than the CPU.

    Raises:
        ValueError: in eager execution, with the first wrong value and its place.
        tf.errors.InvalidArgumentError: from a TensorFlow graph, with the largest wrong value.
        jax.errors.JaxRuntimeError: from a step that JAX compiled, likewise.
    """
    found = _readable(wrong, on_device)
    if found is not None:
        if found.any():
            where = tuple(int(i) for i in np.argwhere(found)[0])
            value = float(np.asarray(ops.convert_to_numpy(values))[where])
            raise ValueError(f"{message} Received {value} at {where}. {cause(value)}".rstrip())
        return
    worst = ops.max(ops.where(wrong, values, ops.full_like(values, -np.inf)))
    text = f"{message} {cause(np.inf)} Received:"
    if _in_tensorflow_graph():
        import tensorflow as tf

        tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [text, worst])
    elif keras.backend.backend() == "jax":
        import jax

        def complain(is_wrong, value):
            if is_wrong:
                raise ValueError(f"{text} {value}")

        jax.debug.callback(complain, ops.any(wrong), worst)


def warn_once(condition, message, said, on_device=True):
    """Warns if a condition holds, and never again.

    Args:
        condition: bool tensor, scalar.
        message: string.
        said: list that remembers that it was said.
        on_device: bool. Whether to read what lies on another device than the CPU.
    """

    def say():
        if message not in said:
            said.append(message)
            warnings.warn(message, stacklevel=2)
        return np.bool_(True)

    if message in said:
        return
    found = _readable(condition, on_device)
    if found is not None:
        if found.any():
            say()
    elif _in_tensorflow_graph():
        import tensorflow as tf

        tf.cond(condition, lambda: tf.numpy_function(say, [], tf.bool), lambda: tf.constant(False))
    elif keras.backend.backend() == "jax":
        import jax

        jax.debug.callback(lambda holds: say() if holds else None, condition)


def on_trial():
    """Whether Keras tries a step on ones, which stand for nothing: with PyTorch, before it fits."""
    return in_symbolic_scope()


def look_like_probabilities(scores, softmax):
    """Whether the first rows of scores `(B, A, K)` are what softmax or sigmoid returns."""
    sample = ops.reshape(scores, (-1, scores.shape[-1]))[:_SAMPLE]
    inside = ops.all(ops.logical_and(sample >= 0, sample <= 1))
    if softmax:
        sums = ops.sum(sample, axis=-1)
        return ops.logical_and(inside, ops.all(ops.abs(sums - 1) < 1e-2))
    return ops.logical_and(inside, ops.max(sample) > ops.min(sample))


def _in_tensorflow_graph():
    """Whether a graph is traced in which a Python function can be called, so not one of XLA's."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util

    if tf.executing_eagerly():
        return False
    return not control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _readable(tensor, on_device):
    """The tensor as NumPy, or None while a graph is traced or where it is not to be read."""
    device = str(getattr(tensor, "device", "")).lower()
    if on_trial() or (not on_device and ("gpu" in device or "cuda" in device)):
        return None
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except Exception:  # every backend refuses a symbolic tensor in its own way
        return None
