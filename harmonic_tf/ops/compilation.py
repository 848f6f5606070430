"""Compiles one tensor function with what the backend offers."""

import keras


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
