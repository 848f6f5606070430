import numpy as np
import pytest
from folders import picture, write_voc
from PIL import Image

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.display import LONGEST_SIDE, LONGEST_STRIP, Display
from harmonic_tf.training.visualization.sheets import save_contact_sheet


def test_an_ordinary_image_is_shown_as_it_is():
    image, mask = picture(60, 80), np.eye(60, 80, dtype=bool)
    display = Display(60, 80)
    np.testing.assert_array_equal(display.image(image), np.asarray(image))
    np.testing.assert_array_equal(display.mask(mask), mask)
    np.testing.assert_array_equal(display.boxes([[1, 2, 3, 4]]), [[1, 2, 3, 4]])
    assert display.boxes([]).shape == (0, 4)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (9000, 9000), (2, 60_000)])
def test_strips_are_padded_and_posters_made_smaller(size):
    display = Display(*size)
    shown = display.image(Image.new("RGB", size[::-1], (9, 99, 9)))
    assert max(shown.shape) <= LONGEST_SIDE
    assert max(shown.shape[:2]) <= LONGEST_STRIP * min(shown.shape[:2])
    assert display.mask(np.ones(size, bool)).shape == shown.shape[:2]
    assert shown[0, 0].tolist() == [9, 99, 9]


def test_padding_is_white_and_no_mask():
    display = Display(1, 64)
    shown = display.image(Image.new("RGB", (64, 1)))
    assert shown.shape == (4, 64, 3)
    assert shown[0].max() == 0 and shown[1:].min() == 255
    assert display.mask(np.ones((1, 64), bool)).sum() == 64


@pytest.mark.parametrize("size", [(4000, 1), (1, 4000)])
def test_a_contact_sheet_shows_strips(tmp_path, size):
    objects = ([("dog", (1, 1, 20, 20))], None)
    root = write_voc(tmp_path, dict.fromkeys("ab", objects), {"train": ["a", "b"]})
    Image.new("RGB", size).save(root / "JPEGImages/b.jpg")
    with Image.open(save_contact_sheet(load_data(f"voc:{root}"), tmp_path / "sheet.png")) as sheet:
        assert sheet.width < 1000
