"""The region proposal network: predictions for some anchors alone, and proposals by hand."""

import keras
import numpy as np
import tensorflow as tf

from harmonic_tf.models.layers.roi_align import flatten_features
from harmonic_tf.models.rpn import RPNHead, propose

VARIANCE = (1.0, 1.0, 1.0, 1.0)
ANCHORS = np.array(
    [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 11, 10], [60, 60, 90, 90]], "float32"
)


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


def proposals(scores, deltas=None, before=10, after=4):
    scores = np.array(scores, "float32")[None]
    deltas = np.zeros((1, 5, 4), "float32") if deltas is None else np.array(deltas, "float32")[None]
    predictions = {
        "rpn_box": deltas,
        "rpn_classification": np.log(np.stack([scores, 1 - scores], axis=-1)),
    }
    # Three anchors on the first level, two on the second; an image of 80 x 80 px.
    return np.array(propose(predictions, ANCHORS, [3, 2], (80, 80), VARIANCE, before, after))[0]


def test_best_first_clipped_and_padded():
    """Of the first two, 9/11 alike, one goes; the fourth is of another level and stays."""
    expected = [[0, 0, 11, 10], [1, 0, 11, 10], [60, 60, 80, 80], [20, 0, 30, 10]]
    np.testing.assert_allclose(proposals([0.6, 0.8, 0.1, 0.9, 0.5]), expected, atol=1e-4)
    received = proposals([0.6, 0.8, 0.1, 0.9, 0.5], after=6)
    np.testing.assert_allclose(received, [*expected, [-1] * 4, [-1] * 4], atol=1e-4)


def test_only_the_best_of_a_level_enter():
    received = proposals([0.6, 0.1, 0.8, 0.2, 0.5], before=1)
    expected = [[20, 0, 30, 10], [60, 60, 80, 80], [-1] * 4, [-1] * 4]
    np.testing.assert_allclose(received, expected, atol=1e-4)


def test_deltas_move_the_anchors():
    """Centre half a height down, twice as wide."""
    deltas = np.zeros((5, 4))
    deltas[2] = [0.5, 0, 0, np.log(2)]
    received = proposals([0.1, 0.1, 0.9, 0.1, 0.1], deltas, after=1)
    np.testing.assert_allclose(received, [[15, 5, 35, 15]], atol=1e-4)
