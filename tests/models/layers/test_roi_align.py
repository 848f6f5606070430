"""RoIAlign against a reference that loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.models.layers.roi_align import RegionFeatures, flatten_features, roi_align


def reference(maps, rois, image_size, size, canonical_size, canonical_level, aligned=True):
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
            least = (0, 0) if aligned else (image_size[0] / height, image_size[1] / width)
            by, bx = max(y2 - y1, least[0]) / size, max(x2 - x1, least[1]) / size
            shift = 0.5 if aligned else 0.0
            for i in range(size):
                for j in range(size):
                    samples = [
                        bilinear(
                            cells,
                            (y1 + (i + sy) * by) * height / image_size[0] - shift,
                            (x1 + (j + sx) * bx) * width / image_size[1] - shift,
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


def align(maps, rois, size=3, **settings):
    sizes = [x.shape[1:3] for x in maps]
    coarser = np.nan * tf.stop_gradient(maps[0][:, :1, :1])  # not to be read
    cells = flatten_features([*maps, coarser])
    rois = np.asarray(rois, "float32")
    return roi_align(cells, sizes, rois, IMAGE_SIZE, size, **SETTINGS, **settings)


@pytest.mark.parametrize("aligned", [True, False])
def test_equals_the_reference_on_random_boxes(aligned):
    rng = np.random.default_rng(1)
    corner = rng.uniform(-10, 60, (2, 30, 2))
    rois = np.concatenate([corner, corner + rng.uniform(1, 90, (2, 30, 2))], -1).astype("float32")
    expected = reference(pyramid(), rois, IMAGE_SIZE, 3, **SETTINGS, aligned=aligned)
    np.testing.assert_allclose(align(pyramid(), rois, aligned=aligned), expected, atol=1e-5)


def test_a_box_that_is_not_aligned_is_at_least_a_cell_large():
    """One of a pixel is read as one of a cell, 4 pixels, from the same corner on; aligned, not."""
    small, cell = [[[40, 20, 41, 21]]] * 2, [[[40, 20, 44, 24]]] * 2
    read = {
        a: (align(pyramid(), small, aligned=a), align(pyramid(), cell, aligned=a)) for a in (0, 1)
    }
    np.testing.assert_allclose(*read[0], atol=1e-5)
    assert np.abs(read[1][0] - read[1][1]).max() > 0.1


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


@pytest.mark.parametrize(("side", "level"), [(111, 2), (113, 3), (223, 3), (225, 4), (449, 5)])
@pytest.mark.parametrize("finest", ["P2", "P3"])
def test_a_box_of_224_px_reads_p4(side, level, finest):
    """Equation 1 of Lin et al., whichever level the pyramid begins with."""
    first = int(finest[1])
    maps = [np.full((1, 2 ** (8 - i), 2 ** (8 - i), 1), i, "float32") for i in range(first, 6)]
    features = RegionFeatures([x.shape[1:3] for x in maps], (512, 512), 1, finest)
    received = features(flatten_features(maps), np.float32([[[0, 0, side, side]]]), 1)
    assert float(received[0, 0, 0, 0]) == pytest.approx(max(level, first))


def test_a_box_that_is_not_finite_has_no_features():
    rois = np.array([[[0, 0, np.nan, 9], [0, 0, 30, 30], [0, -np.inf, 9, 9]]] * 2, "float32")
    received = np.array(align(pyramid(), rois))
    assert np.isnan(received[:, [0, 2]]).all() and np.isfinite(received[:, 1]).all()


@pytest.mark.parametrize("batch", [0, 2])
def test_no_boxes_at_all(batch):
    """In a graph, where their number is not known: TensorFlow's own product ends the process."""
    maps = [x[:batch] for x in pyramid()]

    @tf.function(input_signature=[[tf.TensorSpec((None, *x.shape[1:])) for x in maps]])
    def gradient(maps):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(align(maps, np.zeros((batch, 0, 4))))
        return total, tape.gradient(total, maps)

    total, gradients = gradient(maps)
    assert float(total) == 0
    assert not any(np.any(x) for x in gradients)
