import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.training.data import Augmentation
from harmonic_tf.training.data.transforms.augmentation import (
    ColourMap,
    map_colours,
    sample_colour_maps,
    sample_flips,
    sample_windows,
)

COUNT = 400
SIZES = tf.tile([[100, 200]], [COUNT, 1])
BOX = tf.tile([[[80.0, 40, 120, 60], [-1, -1, -1, -1]]], [COUNT, 1, 1])
CLASSES = tf.tile([[0.0, -1]], [COUNT, 1])


def windows(augmentation, seed=(1, 2), boxes=BOX, classes=CLASSES):
    return sample_windows(SIZES, boxes, classes, augmentation, tf.constant(seed)).numpy()


def test_no_augmentation_shows_the_whole_image():
    np.testing.assert_array_equal(windows(Augmentation.none())[:2], [[0, 0, 100, 200]] * 2)
    assert not sample_flips(COUNT, Augmentation.none(), tf.constant([1, 2])).numpy().any()


def test_windows_shrink_inside_and_grow_around():
    drawn = windows(Augmentation(window=(0.7, 1.15)))
    factors = (drawn[:, 2] - drawn[:, 0]) / 100
    np.testing.assert_allclose((drawn[:, 3] - drawn[:, 1]) / 200, factors, rtol=1e-5)
    assert 0.7 <= factors.min() < 0.72 and 1.13 < factors.max() <= 1.15
    small = drawn[factors < 1]
    assert (small[:, :2] >= 0).all() and (small[:, 2:] <= (100, 200)).all()
    large = drawn[factors > 1]
    assert (large[:, :2] <= 0).all() and (large[:, 2:] >= (100 - 1e-3, 200 - 1e-3)).all()


def test_half_the_images_expand():
    drawn = windows(Augmentation(expand=4.0))
    factors = (drawn[:, 2] - drawn[:, 0]) / 100
    assert 0.4 < (factors > 1).mean() < 0.6
    assert factors.min() == 1 and 3.8 < factors.max() <= 4
    assert (drawn[:, :2] <= 0).all() and (drawn[:, 2:] >= (100 - 1e-3, 200 - 1e-3)).all()


def iou_with_box(window):
    y1, x1, y2, x2 = window
    common = max(0, min(y2, 60) - max(y1, 40)) * max(0, min(x2, 120) - max(x1, 80))
    return common / ((y2 - y1) * (x2 - x1) + 800 - common)


@pytest.mark.parametrize("limit", [0.0, 0.3, 2.0])
def test_crops_overlap_enough(monkeypatch, limit):
    from harmonic_tf.training.data.transforms import augmentation as augment

    monkeypatch.setattr(augment, "CROP_MIN_IOUS", (limit,))
    monkeypatch.setattr(augment, "CROP_SCALES", (0.15, 1.0))
    drawn = windows(Augmentation(min_iou_crop=True))
    whole = (drawn == (0, 0, 100, 200)).all(-1)
    if limit == 2.0:
        assert whole.all()
        return
    assert whole.mean() < 0.9
    for window in drawn[~whole]:
        y1, x1, y2, x2 = window
        assert iou_with_box(window) >= limit - 1e-6
        assert y1 <= 50 <= y2 and x1 <= 100 <= x2
        relative = ((x2 - x1) / 200) / ((y2 - y1) / 100)
        assert 0.5 - 1e-4 <= relative <= 2 + 1e-4


def test_images_without_objects_are_not_cropped():
    nothing = tf.fill([COUNT, 2], -1.0)
    drawn = windows(
        Augmentation(min_iou_crop=True, expand=4.0),
        boxes=tf.fill([COUNT, 2, 4], -1.0),
        classes=nothing,
    )
    assert (drawn[:, 2] - drawn[:, 0] >= 100 - 1e-3).all()


def test_draws_depend_on_the_seed_alone():
    light = Augmentation.light()
    np.testing.assert_array_equal(windows(light), windows(light))
    assert (windows(light, seed=(1, 3)) != windows(light)).any()


def test_flips():
    flips = sample_flips(COUNT, Augmentation(flip=0.25), tf.constant([1, 2])).numpy()
    assert 0.18 < flips.mean() < 0.32
    assert sample_flips(9, Augmentation(flip=1.0), tf.constant([1, 2])).numpy().all()


IMAGE = tf.constant([[[200.0, 100, 40], [10, 10, 10]]])


def strongest(maps, value):
    """The map, of many, for which `value` is largest."""
    index = int(np.argmax(value))
    return ColourMap(tf.constant(True), maps.matrix[index], maps.shift[index])


def test_brightness_shifts_all_channels():
    augmentation = Augmentation(brightness=0.2)
    maps = sample_colour_maps(COUNT, augmentation, tf.constant([1, 2]))
    assert 0.4 < np.mean(maps.active) < 0.6
    assert 49 < np.max(maps.shift) <= 51 and -51 <= np.min(maps.shift) < -49
    out = map_colours(IMAGE, strongest(maps, maps.shift), augmentation)
    np.testing.assert_allclose(out, IMAGE + np.max(maps.shift), rtol=1e-5)


def test_half_the_images_keep_their_colours():
    still = ColourMap(tf.constant(False), 2 * tf.eye(3), tf.constant(9.0))
    np.testing.assert_array_equal(map_colours(IMAGE, still, Augmentation.ssd()), IMAGE)


def test_colours_stay_in_their_range():
    augmentation = Augmentation(brightness=1.0)
    out = map_colours(
        IMAGE, ColourMap(tf.constant(True), tf.eye(3), tf.constant(200.0)), augmentation
    )
    np.testing.assert_array_equal(out, [[[255, 255, 240], [210, 210, 210]]])


def test_contrast_scales():
    augmentation = Augmentation(contrast=0.5)
    matrices = sample_colour_maps(COUNT, augmentation, tf.constant([1, 2])).matrix.numpy()
    factors = matrices[:, 0, 0]
    np.testing.assert_allclose(matrices, factors[:, None, None] * np.eye(3), atol=1e-5)
    assert 0.5 <= factors.min() < 0.53 and 1.47 < factors.max() <= 1.5


@pytest.mark.parametrize("augmentation", [Augmentation(saturation=1.0), Augmentation(hue=180.0)])
def test_saturation_and_hue_keep_grey_and_brightness(augmentation):
    maps = sample_colour_maps(COUNT, augmentation, tf.constant([1, 2]))
    assert (np.abs(maps.matrix - np.eye(3)).max((1, 2)) > 1e-3).mean() > 0.95
    grey, luma = np.ones(3), np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey @ maps.matrix.numpy(), np.ones((COUNT, 3)), atol=1e-4)
    np.testing.assert_allclose(maps.matrix.numpy() @ luma, np.tile(luma, (COUNT, 1)), atol=1e-4)


def test_no_saturation_is_grey():
    maps = sample_colour_maps(COUNT, Augmentation(saturation=1.0), tf.constant([1, 2]))
    palest = strongest(maps, -np.abs(maps.matrix[:, 0, 0] - 0.299))
    out = map_colours(IMAGE, palest, Augmentation(saturation=1.0))
    np.testing.assert_allclose(out[0, 0], [0.299 * 200 + 58.7 + 0.114 * 40] * 3, atol=3)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"flip": 1.5}, "flip must be a probability"),
        ({"window": (0.9, 0.5)}, "window must be"),
        ({"window": (0.0, 1.0)}, "window must be"),
        ({"expand": 0.5}, "expand must be at least 1"),
        ({"hue": 200.0}, "hue must be"),
        ({"mosaic": 1.5}, "mosaic must be a probability"),
        ({"contrast": -0.1}, "contrast must be in 0..1"),
    ],
)
def test_wrong_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**fields)


def test_presets():
    assert Augmentation.none() == Augmentation()
    assert Augmentation.light().window == (0.7, 1.15)
    assert Augmentation.light_mosaic().mosaic == 0.5 and Augmentation.light().mosaic == 0
    assert Augmentation.ssd().min_iou_crop and Augmentation.ssd().expand == 4.0
