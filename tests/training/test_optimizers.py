"""A slow variable moves as by Keras's own optimizer with the lower rate."""

import keras
import numpy as np
import pytest

from harmonic_tf.training.optimizers import SGD, AdamW

STEPS = 5
BOTH = [
    (lambda rate, **settings: SGD(rate, momentum=0.9, **settings),
     lambda rate, decay: keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay)),
    (AdamW, lambda rate, decay: keras.optimizers.AdamW(rate, weight_decay=decay)),
]  # fmt: skip


def moved(optimizer, variables):
    """The variables' values after some steps of random gradients."""
    random = np.random.default_rng(0)
    optimizer.build(variables)
    for _ in range(STEPS):
        gradients = [random.normal(size=x.shape).astype("float32") for x in variables]
        optimizer.apply(gradients, variables)
    return [x.numpy() for x in variables]


def kernel_and_bias():
    return [keras.Variable(np.ones((2, 3), "float32")), keras.Variable(np.ones(3, "float32"))]


@pytest.mark.parametrize(("own", "keras_own"), BOTH, ids=["sgd", "adamw"])
def test_a_slow_variable_is_kerass_at_the_lower_rate(own, keras_own):
    rate, decay, factor = keras.optimizers.schedules.CosineDecay(0.1, STEPS), 0.5, 0.25
    slow, fast = kernel_and_bias(), kernel_and_bias()
    both = moved(own(rate, decay=decay, slow=slow, factor=factor), [*slow, *fast])

    def expected(factor, kept):
        optimizer = keras_own(keras.optimizers.schedules.CosineDecay(0.1 * factor, STEPS), decay)
        variables = [*kernel_and_bias(), *kernel_and_bias()]
        optimizer.exclude_from_weight_decay([x for x in variables if len(x.shape) < 2])
        return moved(optimizer, variables)[kept]

    for received, wanted in zip(both[:2], expected(factor, slice(0, 2)), strict=True):
        np.testing.assert_allclose(received, wanted, rtol=1e-6)
        assert np.all(np.abs(received - 1) > 0)
    for received, wanted in zip(both[2:], expected(1.0, slice(2, 4)), strict=True):
        np.testing.assert_array_equal(received, wanted)


def test_a_step_by_hand():
    """Plain gradient descent: 1 - 0.1 * 0.5 * 1 - 0.1 * 2 for a kernel, at a tenth of the rate."""
    kernel, bias = kernel_and_bias()
    optimizer = SGD(1.0, decay=0.5, slow=[kernel, bias], factor=0.1)
    optimizer.build([kernel, bias])
    optimizer.apply([np.full((2, 3), 2.0, "float32"), np.full(3, 2.0, "float32")])
    np.testing.assert_allclose(kernel.numpy(), 0.75, rtol=1e-6)
    np.testing.assert_allclose(bias.numpy(), 0.8, rtol=1e-6)
