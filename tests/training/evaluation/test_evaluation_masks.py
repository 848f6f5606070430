import numpy as np
import pytest
from keras import ops
from pycocotools import mask as pycocotools

from harmonic_tf.masks import resample
from harmonic_tf.training.evaluation.masks import decode, encode, paste, rle


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


def by_pycocotools(image):
    found = pycocotools.encode(np.asfortranarray(image.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


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


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_runs_are_those_of_pycocotools_and_back(share):
    image = np.random.default_rng(1).random((13, 9)) < share
    found = encode(image)
    assert found == by_pycocotools(image)
    assert decode(found).dtype == bool
    np.testing.assert_array_equal(decode(found), image)


def test_every_form_of_an_annotation_gives_the_same_runs():
    """The left 3 of 5 columns, all 4 rows; then two corners of them."""
    image = np.zeros((4, 5), bool)
    image[:, :3] = True
    whole = by_pycocotools(image)
    assert rle([[0, 0, 3, 0, 3, 4, 0, 4]], (4, 5)) == whole
    assert rle([[0, 0, 1, 0, 1, 4, 0, 4], [1, 0, 3, 0, 3, 4, 1, 4]], (4, 5)) == whole
    assert rle({"size": [4, 5], "counts": [0, 12, 8]}, (4, 5)) == whole
    assert rle(whole, (4, 5)) == whole
