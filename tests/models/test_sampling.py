"""The sampling of rows that are learned from."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.models.sampling import Sampler, batched_gather, subsample_labels


def sampled(label, count, fraction, seed=0):
    index, used = subsample_labels(
        np.array(label), Sampler(count, fraction), keras.random.SeedGenerator(seed)
    )
    return np.array(index), np.array(used)


def test_sample_has_at_most_its_part_of_positives():
    label = np.full((2, 100), -1)
    label[0, :30], label[1, :3] = 1, 0
    label[:, 90:] = -2
    index, used = sampled(label, 20, 0.25)
    assert used.all()
    chosen = np.take_along_axis(label, index, axis=1)
    assert (chosen >= 0).sum(axis=1).tolist() == [5, 3]
    assert (chosen != -2).all()
    assert all(len(set(row)) == 20 for row in index.tolist())


def test_too_few_rows_are_filled_up_with_unused_ones():
    label = np.array([[-2, -2, 4, -2, -1, -2, -2, -2]])
    index, used = sampled(label, 4, 0.5)
    assert used.tolist() == [[True, True, False, False]]
    assert index[0, :2].tolist() == [2, 4]


def test_fewer_rows_than_asked_for():
    index, used = sampled([[-1, 2, -2]], 512, 0.25)
    assert index.shape == (1, 3)
    assert sorted(index[0, used[0]].tolist()) == [0, 1]


@pytest.mark.parametrize("label", [[[-2, -2]], [[-1, -1]]])
def test_no_positives_at_all(label):
    _, used = sampled(label, 2, 0.5)
    assert used.tolist() == [[label[0][0] == -1] * 2]


def test_every_row_is_chosen_at_some_time():
    generator = keras.random.SeedGenerator(0)
    label = np.full((1, 10), -1)
    rows = {
        int(i)
        for _ in range(40)
        for i in np.array(subsample_labels(label, Sampler(2, 0.5), generator)[0])[0]
    }
    assert rows == set(range(10))


def test_without_a_seed_the_sample_is_the_same_and_spread():
    """The positives and the background that are taken come from all parts of the rows."""
    label = np.full((2, 4000), -1)
    label[:, ::7] = 2
    samples = [np.array(Sampler(100, 0.5)(label)[0]) for _ in range(2)]
    np.testing.assert_array_equal(samples[0], samples[1])
    chosen = np.take_along_axis(label, samples[0], axis=1)
    assert (chosen >= 0).sum(axis=1).tolist() == [50, 50]
    for rows in (samples[0][0, :50], samples[0][0, 50:]):
        assert (np.histogram(rows, bins=5, range=(0, 4000))[0] >= 7).all()
        assert len(set(rows.tolist())) == 50


@pytest.mark.parametrize("rows", [0, 3, 40])
def test_the_number_of_rows_may_be_unknown(rows):
    sampler = Sampler(8, 0.5)

    @tf.function(input_signature=[tf.TensorSpec((2, None), tf.int32)])
    def sample(label):
        return sampler(label)

    index, used = (np.array(x) for x in sample(np.zeros((2, rows), "int32") - np.arange(rows) % 2))
    assert index.shape == used.shape == (2, 8)
    assert (used.sum(axis=1) == min(rows, 8)).all()
    assert (index[used] < rows).all() if rows else not index.any()


def test_rows_are_gathered_image_by_image():
    values = np.arange(24.0).reshape(2, 4, 3)
    received = batched_gather(values, np.array([[3, 0], [1, 1]]))
    np.testing.assert_array_equal(received, [values[0, [3, 0]], values[1, [1, 1]]])
