"""A loss and its gradient by the predictions, in whichever backend Keras runs on.

Run as a program it evaluates a fixed set of cases and writes them to a file, so that a test can
compare backends: `python differentiate.py RESULT.npz`.
"""

import sys

import keras
import numpy as np
from reference import FORMS, VARIATIONS, random_case


def differentiate(function, y_true, y_pred):
    """Returns `(value, gradients)` of the scalar `function(y_true, y_pred)`, as NumPy.

    `y_true` and `y_pred` are trees of arrays; the gradients, by `y_pred`, come in the same tree.
    """
    return differentiator(function)(y_true, y_pred)


def differentiator(function, mode="eager"):
    """`differentiate` as a function of `(y_true, y_pred)` that is compiled once.

    `mode` is `"eager"`, `"graph"` or `"xla"`, the last two on TensorFlow only.
    """
    backend = keras.backend.backend()
    step = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](function, mode)

    def run(y_true, y_pred):
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, (y_true, y_pred))
        return keras.tree.map_structure(keras.ops.convert_to_numpy, step(*tensors))

    return run


def _tensorflow(function, mode):
    import tensorflow as tf

    def step(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = function(y_true, y_pred)
        return value, tape.gradient(value, y_pred, unconnected_gradients="zero")

    if mode == "eager":
        return step
    return tf.function(step, jit_compile=mode == "xla", autograph=False)


def _jax(function, mode):
    import jax

    return jax.value_and_grad(function, argnums=1)


def _torch(function, mode):
    def step(y_true, y_pred):
        y_pred = keras.tree.map_structure(lambda x: x.clone().requires_grad_(True), y_pred)
        value = function(y_true, y_pred)
        value.backward()
        return value, keras.tree.map_structure(lambda x: x.grad, y_pred)

    return step


def main(path):
    from harmonic_tf.losses import HarmonicDetLoss

    results = {}
    for form in FORMS:
        for name in ("default", "harmonic norm", "standard"):
            settings = VARIATIONS[name]
            y_true, y_pred = (
                {key: value.astype("float32") for key, value in y.items()}
                for y in random_case(form, seed=5)
            )
            loss = HarmonicDetLoss(form, negative_ratio=3.0, **settings)
            value, gradients = differentiate(loss, y_true, y_pred)
            for key, array in {"loss": value, **gradients}.items():
                results[f"{form}/{name}/{key}"] = array
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
