"""The region proposal network: predictions for some anchors alone."""

import keras
import numpy as np
import tensorflow as tf

from harmonic_tf.models.layers.roi_align import flatten_features
from harmonic_tf.models.rpn import RPNHead


def head_and_maps():
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    sizes = [(4, 5), (2, 3), (1, 1)]
    maps = [tf.constant(random.normal(size=(2, *size, 6)), "float32") for size in sizes]
    head = RPNHead(anchors_per_cell=3, filters=8)
    head.build([x.shape for x in maps])
    head.convolution.bias.assign(random.normal(size=8))
    return head, maps


def test_predictions_of_some_anchors_are_those_of_all():
    head, maps = head_and_maps()
    everything = head(maps)
    assert everything["box"].shape == (2, 81, 4)
    assert everything["classification"].shape == (2, 81, 2)
    index = np.stack([np.random.default_rng(i).permutation(81) for i in range(2)])
    some = head(flatten_features(maps), tf.constant(index))
    for key, values in everything.items():
        expected = np.take_along_axis(np.array(values), index[..., None], axis=1)
        np.testing.assert_allclose(some[key], expected, atol=1e-6, err_msg=key)


def test_gradient_of_some_anchors_is_that_of_all():
    head, maps = head_and_maps()
    index = tf.constant([[0, 59, 60, 80, 31], [17, 17, 78, 62, 3]])
    sources = [*maps, *(weight.value for weight in head.trainable_weights)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        everything, some = head(maps), head(flatten_features(maps), index)
        expected = sum(
            tf.reduce_sum(tf.sin(tf.gather(values, index, batch_dims=1)))
            for values in everything.values()
        )
        received = sum(tf.reduce_sum(tf.sin(values)) for values in some.values())
    for a, b in zip(
        tape.gradient(received, sources), tape.gradient(expected, sources), strict=True
    ):
        np.testing.assert_allclose(tf.convert_to_tensor(a), b, atol=1e-5)
        assert np.any(b)
