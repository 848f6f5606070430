"""One step on two logical CPU devices, positives spread unevenly, against one step on one device.

Run as a program; fails by an assertion.
"""

import numpy as np
import tensorflow as tf
from reference import FORMS, VARIATIONS, random_case

from harmonic_tf.losses import HarmonicDetLoss


def uneven_case(form):
    """Four images; all positives but one lie in the first two, of the first replica."""
    y_true, y_pred = random_case(form, seed=9, batch=4, rows=30)
    classes = y_true["classification"]
    classes[2:] = np.where(classes[2:] >= 0, -1, classes[2:])
    classes[3, 4] = 2
    return tuple({k: v.astype("float32") for k, v in y.items()} for y in (y_true, y_pred))


def value_and_gradients(loss, y_true, y_pred):
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(y_true, y_pred)
    return value, tape.gradient(value, y_pred)


def check(form, strategy, **settings):
    y_true, y_pred = uneven_case(form)
    loss = HarmonicDetLoss(form, negative_ratio=3.0, **settings)
    expected_value, expected = value_and_gradients(
        loss, *tf.nest.map_structure(tf.constant, (y_true, y_pred))
    )

    def part(context, dictionary):
        first = 2 * context.replica_id_in_sync_group
        return {key: tf.constant(value[first : first + 2]) for key, value in dictionary.items()}

    per_replica = [
        strategy.experimental_distribute_values_from_function(lambda c, y=y: part(c, y))
        for y in (y_true, y_pred)
    ]

    @tf.function
    def step(y_true, y_pred):
        return strategy.run(value_and_gradients, args=(loss, y_true, y_pred))

    value, gradients = step(*per_replica)
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
    np.testing.assert_allclose(total, expected_value, rtol=1e-5)
    for key, gradient in gradients.items():
        actual = np.concatenate(strategy.experimental_local_results(gradient))
        np.testing.assert_allclose(actual, expected[key], rtol=1e-5, atol=1e-7, err_msg=key)


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    check("focal", strategy)
    for form in FORMS:
        check(form, strategy, **VARIATIONS["harmonic norm"])
    check("softmax", strategy, **VARIATIONS["normalized"])


if __name__ == "__main__":
    main()
