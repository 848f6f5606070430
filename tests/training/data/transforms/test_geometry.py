import io

import numpy as np
import pytest
import tensorflow as tf
from folders import picture
from PIL import Image

from harmonic_tf.training.data import fit_image
from harmonic_tf.training.data.transforms.geometry import (
    keep_objects,
    mirror_boxes,
    move_back,
    move_boxes,
    place,
    place_boxes,
)
from harmonic_tf.training.data.transforms.render import FILL, render


def png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(image, quality=95) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def placed(window, size, image_size, resize="stretch", is_jpeg=False):
    window = tf.constant(window, tf.float32)
    return place(window, tf.constant(size), tf.constant(is_jpeg), image_size, resize)


def values(placement):
    return [np.asarray(part).tolist() for part in placement]


def test_whole_image_stretched():
    # 100 x 200 px to 50 x 400: y halves, x doubles.
    placement = placed([0, 0, 100, 200], (100, 200), (50, 400))
    assert values(placement) == [0, [0, 0, 100, 200], [0, 0, 50, 400], [0.5, 2.0], [0.0, 0.0]]


def test_whole_image_in_a_letterbox():
    # 100 x 200 px to 100 x 100: halves, 25 px of grey above and below.
    placement = placed([0, 0, 100, 200], (100, 200), (100, 100), "letterbox")
    assert values(placement) == [0, [0, 0, 100, 200], [25, 0, 75, 100], [0.5, 0.5], [25.0, 0.0]]


def test_window_inside_and_around():
    # The middle 50 x 100 of 100 x 200 px, twice as large.
    inside = placed([25, 50, 75, 150], (100, 200), (100, 200))
    assert values(inside)[1:] == [[25, 50, 75, 150], [0, 0, 100, 200], [2, 2], [-50, -100]]
    # A window twice the image, which lies in its lower right corner.
    around = placed([-100, -200, 100, 200], (100, 200), (100, 200))
    assert values(around)[1:] == [[0, 0, 100, 200], [50, 100, 100, 200], [0.5, 0.5], [50, 100]]


def test_scale_follows_whole_pixels():
    # An image of 3 px in a window of 7 px on 10 px of input: pixels 3 to 7 (2.86, 7.14).
    placement = placed([-2, 0, 5, 7], (3, 7), (10, 7))
    assert values(placement)[2] == [3, 0, 7, 7]
    np.testing.assert_allclose(placement.scale, [4 / 3, 1])
    np.testing.assert_allclose(placement.offset, [3, 0])


@pytest.mark.parametrize(
    "side, level", [(100, 0), (199, 0), (200, 1), (399, 1), (400, 2), (801, 3), (9000, 3)]
)
def test_jpegs_are_decoded_small(side, level):
    placement = placed([0, 0, side, side], (side, side), (100, 100), is_jpeg=True)
    assert int(placement.level) == level
    assert placement.source[2] == round(side / 2**level)
    # To within the decoder's rounding up of the sides.
    np.testing.assert_allclose(placement.scale, [100 / side] * 2, rtol=0.02)
    assert int(placed([0, 0, side, side], (side, side), (100, 100)).level) == 0


def test_batches_are_placed_like_single_images():
    windows = [[0, 0, 90, 120], [-10, 20, 70, 100], [5, 5, 500, 700]]
    sizes = [(90, 120), (60, 130), (600, 800)]
    jpegs = [True, False, True]
    batch = placed(windows, sizes, (64, 96), "letterbox", jpegs)
    for index, (window, size, is_jpeg) in enumerate(zip(windows, sizes, jpegs, strict=True)):
        single = placed(window, size, (64, 96), "letterbox", is_jpeg)
        assert values(single) == [part[index] for part in values(batch)]


def test_boxes_move_with_scale_then_offset():
    moved = move_boxes(
        tf.constant([[[1.0, 2, 3, 4]]]), tf.constant([[10.0, 2]]), tf.constant([[5.0, 1]])
    )
    np.testing.assert_array_equal(moved, [[[3, 25, 7, 45]]])
    back = move_back(moved, tf.constant([[10.0, 2]]), tf.constant([[5.0, 1]]))
    np.testing.assert_allclose(back, [[[1, 2, 3, 4]]], rtol=1e-6)


def test_boxes_in_a_window():
    boxes = [
        [60, 30, 80, 50],  # inside
        [40, 30, 70, 50],  # centre at 55: stays, cut at 50
        [30, 30, 60, 50],  # centre at 45: gone
        [50, 25, 50.4, 75],  # 0.8 px wide once enlarged: gone
        [0, 0, 200, 100],  # centre shown: the whole window
        [-1, -1, -1, -1],
    ]
    classes = [3, 4, 5, 6, 7, -1]
    placement = placed([25, 50, 75, 150], (100, 200), (100, 200))
    out, kinds, numbers = place_boxes(
        tf.constant(boxes, tf.float32), tf.constant(classes, tf.float32), placement
    )
    np.testing.assert_array_equal(kinds, [3, 4, 7, -1, -1, -1])
    np.testing.assert_array_equal(numbers, [0, 1, 4, -1, -1, -1])
    np.testing.assert_allclose(
        out[:3], [[20, 10, 60, 50], [0, 10, 40, 50], [0, 0, 200, 100]], atol=1e-5
    )
    assert (out.numpy()[3:] == -1).all()


def test_boxes_are_cut_at_the_image_not_at_the_grey():
    placement = placed([0, 0, 100, 200], (100, 200), (100, 100), "letterbox")
    out, *_ = place_boxes(tf.constant([[0.0, -20, 200, 130]]), tf.constant([0.0]), placement)
    np.testing.assert_array_equal(out, [[0, 25, 100, 75]])


def test_objects_that_stay_move_to_the_front():
    boxes = tf.reshape(tf.range(24.0), (2, 3, 4))
    stays = tf.constant([[False, True, True], [True, False, False]])
    classes = tf.constant([[0.0, 1, 2], [3, 4, 5]])
    out, kinds, numbers = keep_objects(stays, boxes, classes, tf.constant([[7, 8, 9], [4, 5, 6]]))
    np.testing.assert_array_equal(kinds, [[1, 2, -1], [3, -1, -1]])
    np.testing.assert_array_equal(numbers, [[8, 9, -1], [4, -1, -1]])
    assert numbers.dtype == tf.int32
    np.testing.assert_array_equal(out[:, 0], [[4, 5, 6, 7], [12, 13, 14, 15]])
    assert (out.numpy()[0, 2] == -1).all()


def test_mirrored_boxes():
    out = mirror_boxes(
        tf.constant([[10.0, 1, 30, 5], [-1, -1, -1, -1]]), tf.constant([0.0, -1]), 100
    )
    np.testing.assert_array_equal(out, [[70, 1, 90, 5], [-1, -1, -1, -1]])


def test_render_fills_with_grey():
    pixels = np.full((100, 200, 3), 200, np.uint8)
    placement = placed([-100, -200, 100, 200], (100, 200), (100, 200))
    image = render(png(pixels), placement, (100, 200)).numpy()
    assert (image[:50] == FILL).all() and (image[:, :100] == FILL).all()
    np.testing.assert_allclose(image[50:, 100:], 200, atol=1e-3)


def test_render_at_the_same_size_changes_nothing():
    pixels = np.asarray(picture(30, 40))
    placement = placed([0, 0, 30, 40], (30, 40), (30, 40))
    np.testing.assert_array_equal(render(png(pixels), placement, (30, 40)), pixels)


@pytest.mark.parametrize("encode", [png, jpeg])
@pytest.mark.parametrize("size", [(61, 83), (320, 400), (900, 1300)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_boxes_bound_the_pixels(encode, size, resize):
    """A red rectangle is drawn, the image fitted, and the red looked for."""
    height, width = size
    box = np.array([0.25 * width, 0.4 * height, 0.7 * width, 0.85 * height]).round()
    pixels = np.full((height, width, 3), 60, np.uint8)
    x1, y1, x2, y2 = box.astype(int)
    pixels[y1:y2, x1:x2] = (255, 60, 60)
    image, scale, offset, found = fit_image(tf.constant(encode(pixels)), (100, 160), resize)
    np.testing.assert_array_equal(found, size)
    rows, columns = np.nonzero(image.numpy()[..., 0] - image.numpy()[..., 1] > 97)
    seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    moved = move_boxes(tf.constant(box[None], tf.float32), scale, offset)[0]
    np.testing.assert_allclose(moved, seen, atol=1.0)
    back = (moved - tf.gather(offset, [1, 0, 1, 0])) / tf.gather(scale, [1, 0, 1, 0])
    np.testing.assert_allclose(back, box, rtol=1e-5)


def test_strong_shrinking_does_not_alias():
    """Stripes of one pixel become their mean, in both ways of decoding."""
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    for encoded in (png(stripes), jpeg(stripes)):
        image, *_ = fit_image(tf.constant(encoded), (64, 64), "stretch")
        np.testing.assert_allclose(image, 127.5, atol=12)


def test_grey_images_have_three_channels():
    image, *_ = fit_image(tf.constant(jpeg(np.full((20, 30), 90, np.uint8))), (20, 30), "stretch")
    np.testing.assert_allclose(image, 90, atol=1)
