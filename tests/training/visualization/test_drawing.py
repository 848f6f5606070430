import numpy as np
import pytest
from PIL import Image

from harmonic_tf.training.visualization.drawing import PALETTE, class_color, draw_boxes, grid

BLACK = np.zeros((500, 600, 3), np.uint8)


def count(picture, color):
    return int((np.asarray(picture) == color).all(axis=-1).sum())


def test_outline_lies_on_the_box_in_the_colour_of_its_class():
    picture = np.asarray(draw_boxes(BLACK, [[100, 200, 300, 400]], [2], ["a", "b", "c"]))
    color = class_color(2)
    assert (picture[300, 100] == color).all() and (picture[300, 300] == color).all()
    assert (picture[400, 200] == color).all() and (picture[200, 290] == color).all()
    assert (picture[300, 200] == 0).all() and (picture[300, 90] == 0).all()


def test_no_boxes_leaves_the_image_as_it_is():
    for boxes in ([], np.zeros((0, 4))):
        assert (np.asarray(draw_boxes(BLACK, boxes, [], ["a"], [])) == BLACK).all()


def test_a_name_of_two_lines_is_drawn_as_one():
    drawn = [draw_boxes(BLACK, [[100, 200, 300, 400]], [0], [name]) for name in ("a\nb", "a b")]
    np.testing.assert_array_equal(*map(np.asarray, drawn))


def test_the_argument_is_not_written_to():
    image = BLACK.copy()
    draw_boxes(image, [[1, 1, 50, 50]], [0], ["a"], [0.5], [[1, 1, 40, 40]])
    assert (image == 0).all()


def test_small_images_grow_by_a_whole_factor():
    """480 / 160 = 3."""
    picture = draw_boxes(np.zeros((160, 208, 3), np.uint8), [[10, 50, 60, 150]], [0], ["a"])
    assert picture.size == (624, 480)
    assert np.asarray(picture)[300, 30].tolist() == list(class_color(0))


def test_the_best_score_lies_on_top():
    both = [[100, 100, 300, 300]] * 2
    top = np.asarray(draw_boxes(BLACK, both, [0, 1], "ab", scores=[0.3, 0.8]))[300, 200]
    assert top.tolist() == list(class_color(1))
    top = np.asarray(draw_boxes(BLACK, both, [0, 1], "ab", scores=[0.8, 0.3]))[300, 200]
    assert top.tolist() == list(class_color(0))


@pytest.mark.parametrize(
    "box", [[0, 0, 600, 500], [590, 490, 600, 500], [-50, -50, 700, 800], [300, 200, 100, 100]]
)
def test_labels_stay_inside_wherever_the_box_is(box):
    picture = draw_boxes(BLACK, [box], [0], ["a rather long name"], [0.5])
    assert picture.size == (600, 500)
    assert count(picture, class_color(0)) > 1000


def test_a_label_wider_than_the_image_is_no_error():
    draw_boxes(BLACK, [[10, 10, 40, 40]], [0], ["long " * 40], [0.5])


@pytest.mark.parametrize("name", ["a\nb", "a\r\n b", "\n"])
def test_a_name_with_a_line_break_is_one_line(name):
    one, other = (
        draw_boxes(np.zeros((300, 600, 3), "uint8"), [[10, 40, 99, 99]], [0], [text])
        for text in (name, " ".join(name.split()))
    )
    np.testing.assert_array_equal(one, other)


def test_masks_are_filled_and_outlined_in_the_colour_of_their_class():
    mask = np.zeros((500, 600), bool)
    mask[200:300, 100:180] = True
    boxes = [[100, 200, 300, 400], [400, 100, 500, 200]]
    masks = [mask, np.zeros((500, 600), bool)]
    picture = np.asarray(draw_boxes(BLACK, boxes, [2, 0], "abc", masks=masks))
    color = np.array(class_color(2))
    np.testing.assert_allclose(picture[250, 140], 0.45 * color, atol=1)
    np.testing.assert_array_equal(picture[250, 179], color)
    np.testing.assert_array_equal(picture[299, 140], color)
    assert (picture[250, 180] == 0).all() and (picture[300, 140] == 0).all()
    assert (picture[150, 450] == 0).all()


def test_masks_grow_with_the_image_and_may_touch_its_border():
    mask = np.ones((160, 208), bool)
    picture = draw_boxes(np.zeros((160, 208, 3), np.uint8), [[0, 0, 1, 1]], [0], "a", masks=[mask])
    np.testing.assert_allclose(
        np.asarray(picture)[300, 300], 0.45 * np.array(class_color(0)), atol=1
    )
    np.testing.assert_array_equal(np.asarray(picture)[300, 623], class_color(0))


def test_ground_truth_is_dashed_white():
    picture = draw_boxes(BLACK, [], [], [], ground_truth=[[100, 100, 300, 300]])
    edge = np.asarray(picture)[300, 100:300]
    white = (edge == 255).all(axis=-1)
    assert 0.3 < white.mean() < 0.7
    assert count(picture, 255) > 300


@pytest.mark.parametrize(
    "image", [BLACK.astype(np.float32), BLACK[..., 0], np.zeros((9, 9, 4), np.uint8)]
)
def test_other_images_are_refused(image):
    with pytest.raises(ValueError, match="expected a uint8 image"):
        draw_boxes(image, [], [], [])


def test_colours_differ_and_repeat():
    assert len(set(PALETTE)) == len(PALETTE) >= 8
    assert class_color(len(PALETTE) + 1) == class_color(1)


def test_grid_by_hand():
    """Three of 100 x 50 in rows of two: 2 x 100 + 3 gaps of 10 by 2 x 50 + 3 gaps."""
    images = [Image.new("RGB", (200, 100), color) for color in ("red", "blue", "black")]
    sheet = grid(images, columns=2, width=100, gap=10)
    assert sheet.size == (230, 130)
    assert sheet.getpixel((15, 15)) == (255, 0, 0)
    assert sheet.getpixel((125, 15)) == (0, 0, 255)
    assert sheet.getpixel((15, 75)) == (0, 0, 0)
    assert sheet.getpixel((125, 75)) == (255, 255, 255)
    assert grid(images[:1], columns=4, width=100, gap=10).size == (120, 70)


def test_captions_take_room_above():
    picture = Image.new("RGB", (100, 50), "red")
    plain, captioned = (grid([picture], width=100, captions=c) for c in (None, ["found"]))
    assert captioned.height > plain.height and captioned.width == plain.width
    assert captioned.getpixel((50, captioned.height - 10)) == (255, 0, 0)
