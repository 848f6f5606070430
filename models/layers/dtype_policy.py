"""Keras's dtype policy, for the layers that are made in a place."""

import contextlib

import keras


@contextlib.contextmanager
def dtype_policy(policy):
    """Sets Keras's dtype policy for the models built inside.

    Args:
        policy: name such as `"mixed_bfloat16"`, or `keras.DTypePolicy`.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
