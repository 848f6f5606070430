"""RoIAlign against a reference that loops, and the sampling of rows."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.models.layers.roi_align import flatten_features, roi_align
from harmonic_tf.models.sampling import subsample_labels


def reference(maps, rois, image_size, size, canonical_size, canonical_level):
    """RoIAlign with 2 x 2 samples a bin, one sample after another, in float64."""
    batch, count = rois.shape[:2]
    result = np.zeros((batch, count, size, size, maps[0].shape[-1]))
    for b in range(batch):
        for r in range(count):
            x1, y1, x2, y2 = rois[b, r].astype("float64")
            scale = math.sqrt(max((x2 - x1) * (y2 - y1), 1e-4)) / canonical_size
            level = math.floor(canonical_level + math.log2(scale))
            cells = maps[min(max(level, 0), len(maps) - 1)][b].astype("float64")
            height, width = cells.shape[:2]
            by, bx = (y2 - y1) / size, (x2 - x1) / size
            for i in range(size):
                for j in range(size):
                    samples = [
                        bilinear(
                            cells,
                            (y1 + (i + sy) * by) * height / image_size[0] - 0.5,
                            (x1 + (j + sx) * bx) * width / image_size[1] - 0.5,
                        )
                        for sy in (0.25, 0.75)
                        for sx in (0.25, 0.75)
                    ]
                    result[b, r, i, j] = np.mean(samples, axis=0)
    return result


def bilinear(cells, y, x):
    height, width = cells.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(cells.shape[-1])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = cells[y0, x0] * (1 - (x - x0)) + cells[y0, x1] * (x - x0)
    bottom = cells[y1, x0] * (1 - (x - x0)) + cells[y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


IMAGE_SIZE = (64, 96)
SETTINGS = {"canonical_size": 32.0, "canonical_level": 1}


def pyramid(seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(2, *size, 3)).astype("float32") for size in ((16, 24), (8, 12), (4, 6))
    ]


def align(maps, rois, size=3):
    sizes = [x.shape[1:3] for x in maps]
    coarser = np.full((maps[0].shape[0], 1, 1, 3), np.nan, "float32")  # not to be read
    cells = flatten_features([*maps, coarser])
    return roi_align(cells, sizes, np.asarray(rois, "float32"), IMAGE_SIZE, size, **SETTINGS)


def test_equals_the_reference_on_random_boxes():
    rng = np.random.default_rng(1)
    corner = rng.uniform(-10, 60, (2, 30, 2))
    rois = np.concatenate([corner, corner + rng.uniform(1, 90, (2, 30, 2))], -1).astype("float32")
    expected = reference(pyramid(), rois, IMAGE_SIZE, 3, **SETTINGS)
    np.testing.assert_allclose(align(pyramid(), rois), expected, atol=1e-5)


def test_touching_and_leaving_the_border_and_without_size():
    rois = [[0, 0, 96, 64], [90, 60, 96, 64], [10, 10, 10, 10], [-1, -1, -1, -1], [200, 0, 240, 40]]
    rois = np.array([rois] * 2, "float32")
    received = align(pyramid(), rois)
    expected = reference(pyramid(), rois, IMAGE_SIZE, 3, **SETTINGS)
    np.testing.assert_allclose(received, expected, atol=1e-5)
    assert not np.any(received[:, 4])


@pytest.mark.parametrize(("side", "level"), [(10, 0), (31, 0), (33, 1), (63, 1), (64, 2)])
def test_a_box_is_read_from_the_map_of_its_size(side, level):
    maps = [np.full((1, *x.shape[1:]), i, "float32") for i, x in enumerate(pyramid())]
    received = align(maps, [[[20, 20, 20 + side, 20 + side]]], size=1)
    assert float(received[0, 0, 0, 0, 0]) == pytest.approx(level)


def test_gradient_reaches_the_cells_that_were_read():
    maps = [tf.Variable(x) for x in pyramid()]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(align(maps, [[[8, 8, 24, 24]], [[8, 8, 24, 24]]], size=2))
    fine, middle, _ = (np.array(tf.convert_to_tensor(g)) for g in tape.gradient(total, maps))
    assert fine.sum() == pytest.approx(2 * 2 * 2 * 3, rel=1e-5)
    assert not middle.any()


def sampled(label, count, fraction, seed=0):
    index, used = subsample_labels(
        np.array(label), count, fraction, keras.random.SeedGenerator(seed)
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
        for i in np.array(subsample_labels(label, 2, 0.5, generator)[0])[0]
    }
    assert rows == set(range(10))
