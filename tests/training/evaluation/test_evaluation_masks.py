import numpy as np
import pytest
from keras import ops

from harmonic_tf.masks import resample
from harmonic_tf.training.evaluation.masks import paste


def pasted_by_loop(mask, box, size):
    """Pixel by pixel, cell by cell."""
    x1, y1, x2, y2 = box
    cells = len(mask)
    image = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            y = (row + 0.5 - y1) / (y2 - y1) * cells - 0.5
            x = (column + 0.5 - x1) / (x2 - x1) * cells - 0.5
            value = sum(
                mask[i, j] * max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                for i in range(cells)
                for j in range(cells)
            )
            image[row, column] = value >= 0.5
    return image


@pytest.mark.parametrize("seed", range(6))
def test_paste_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 7),) * 2)
    x1, x2 = np.sort(rng.uniform(-5, 25, 2))
    y1, y2 = np.sort(rng.uniform(-5, 20, 2))
    box = (x1, y1, x2, y2)
    np.testing.assert_array_equal(paste(mask, box, (15, 20)), pasted_by_loop(mask, box, (15, 20)))


def test_paste_equals_resample_on_the_images_frame():
    rng = np.random.default_rng(0)
    mask = rng.random((28, 28)).astype("float32")
    box, frame = np.float32([3.3, 5.1, 31.7, 20.9]), np.float32([0, 0, 40, 30])
    seen = ops.convert_to_numpy(resample(*map(ops.array, (mask, box, frame)), (30, 40)))
    np.testing.assert_array_equal(paste(mask, box, (30, 40)), seen >= 0.5)


def test_an_object_that_fills_its_box_has_the_pixels_of_the_box():
    image = paste(np.ones((4, 4)), (2, 1, 6, 5), (7, 8))
    expected = np.zeros((7, 8), bool)
    expected[1:5, 2:6] = True
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("box", "count"),
    [
        ((2, 3, 3, 4), 1),
        ((2.4, 3.4, 2.6, 3.6), 1),
        ((2.1, 3.1, 2.4, 3.4), 0),
        ((2, 3, 2, 8), 0),
        ((5, 5, 2, 2), 0),
        ((-9, -9, -1, -1), 0),
        ((50, 2, 60, 4), 0),
        ((-1, -1, -1, -1), 0),
        ((np.nan,) * 4, 0),
    ],
)
def test_boxes_of_one_pixel_or_none(box, count):
    assert paste(np.ones((28, 28)), box, (10, 12)).sum() == count
    assert not paste(np.zeros((28, 28)), box, (10, 12)).any()
