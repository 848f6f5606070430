"""Masks in the frames of boxes, from COCO's forms."""

import numpy as np
import pytest
from faster_coco_eval import mask as coco_mask

from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.segmentation import (
    MASK_SIZE,
    frame_mask,
    usable_segmentation,
)
from harmonic_tf.training.rle import run_lengths, runs

HEADER = Header(60, 80, True)


def forms(polygon, mask) -> list:
    """The same object in every form that COCO has."""
    uncompressed = runs(mask)
    compressed = coco_mask.frPyObjects(uncompressed, *uncompressed["size"])
    as_text = {**compressed, "counts": compressed["counts"].decode()}
    return [[polygon], uncompressed, compressed, as_text]


def rectangle(x1, y1, x2, y2):
    mask = np.zeros((60, 80), bool)
    mask[y1:y2, x1:x2] = True
    return forms([x1, y1, x2, y1, x2, y2, x1, y2], mask)


@pytest.mark.parametrize("form", range(4))
def test_a_half_filled_box(form):
    # The right half of the box, which reaches further down.
    mask = frame_mask(rectangle(20, 10, 40, 50)[form], (0, 10, 40, 40))
    assert mask.shape == (MASK_SIZE, MASK_SIZE) and mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[:, :28], 0)
    np.testing.assert_array_equal(mask[:, 28:], 255)


@pytest.mark.parametrize("form", range(4))
def test_values_are_the_covered_share_of_a_cell(form):
    # Cells of 10 x 10 px: the object covers 5 px of the second column, and all of the third.
    mask = frame_mask(rectangle(15, 0, 40, 30)[form], (0, 0, 40, 40), size=4) / 255
    expected = np.outer([1, 1, 1, 0], [0, 0.5, 1, 1])
    # A polygon's own edge counts as inside: a quarter of a cell at most.
    np.testing.assert_allclose(mask, expected, atol=0.26 if form == 0 else 0.01)


@pytest.mark.parametrize("form", range(4))
def test_edges_within_a_pixel_are_kept(form):
    # A box from 2.5 to 6.5 px around an object of 4 to 80: 3/8 of it are empty.
    mask = frame_mask(rectangle(4, 0, 80, 60)[form], (2.5, 1.25, 6.5, 5.25)) / 255
    np.testing.assert_allclose(mask[:, :21], 0, atol=0.01)
    np.testing.assert_allclose(mask[:, 21:], 1, atol=0.01)


def test_a_triangle():
    mask = frame_mask([[10.0, 20, 50, 20, 10, 40]], (10, 20, 50, 40)) / 255
    rows, columns = np.indices(mask.shape)
    np.testing.assert_array_equal(mask[rows + columns < MASK_SIZE - 2], 1)
    np.testing.assert_array_equal(mask[rows + columns > MASK_SIZE], 0)
    assert mask.mean() == pytest.approx(0.5, abs=0.01)


def test_polygons_and_runs_agree():
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radius = 20 + 6 * np.sin(3 * angle)
    polygon = np.stack([40 + radius * np.cos(angle), 30 + radius * np.sin(angle)], -1).ravel()
    rle = coco_mask.segmToRle([polygon.tolist()], 80, 60)
    box = (polygon[::2].min(), polygon[1::2].min(), polygon[::2].max(), polygon[1::2].max())
    drawn = frame_mask([polygon.tolist()], box) >= 128
    ran = frame_mask(rle, box) >= 128
    assert (drawn & ran).sum() / (drawn | ran).sum() > 0.95


def test_several_polygons_are_their_union():
    left, right = [0, 0, 20, 0, 20, 40, 0, 40], [10, 0, 30, 0, 30, 40, 10, 40]
    mask = frame_mask([left, right, [-9, -9, -5, -9, -5, -5]], (0, 0, 40, 40), size=4)
    np.testing.assert_array_equal(mask[:, :3], 255)
    np.testing.assert_allclose(mask[:, 3] / 255, 0, atol=0.26)


@pytest.mark.parametrize("form", range(4))
def test_boxes_that_hardly_leave_the_image_or_miss_the_object(form):
    objects = rectangle(20, 10, 80, 60)
    whole = frame_mask(objects[form], (20, 10, 80.001, 60.001))
    np.testing.assert_array_equal(whole, 255)
    np.testing.assert_array_equal(frame_mask(objects[form], (0, 0, 10, 10)), 0)


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths(seed):
    mask = np.random.default_rng(seed).random((60, 80)) < (0.5, 0.01, 0.99)[seed]
    rle = runs(mask)
    compressed = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    for counts in (rle["counts"], compressed, compressed.decode()):
        np.testing.assert_array_equal(run_lengths(counts), rle["counts"])


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_images(value):
    rle = runs(np.full((6, 8), value))
    np.testing.assert_array_equal(frame_mask(rle, (1, 1, 7, 5)), 255 * value)
    compressed = coco_mask.frPyObjects(rle, 6, 8)["counts"]
    np.testing.assert_array_equal(run_lengths(compressed), rle["counts"])


def test_good_segmentations_pass():
    for segmentation in rectangle(20, 10, 80, 60):
        usable_segmentation(segmentation, HEADER)
    # Out of the image is a matter of the box.
    usable_segmentation([[-5, 0, 90, 0, 90, 70], [1, 1, 2, 2, 3, 3]], HEADER)


@pytest.mark.parametrize(
    "segmentation, reason",
    [
        ([[1, 2, 3, 4]], "polygon of 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon of 7 numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "polygon is not finite"),
        ([[1, 2, 3, 4, 5, float("-inf")]], "polygon is not finite"),
        ([[1, 2, 3, 4, 5, 6], [1, 2]], "polygon of 2 numbers"),
        ([1, 2, 3, 4], "polygon of 4 numbers"),
        ([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 9], [9, 9]]], "neither polygons"),
        ([["1"] * 6], "neither polygons"),
        (7, "neither polygons"),
        ({"counts": [4800]}, "neither polygons"),
        ({"size": [60], "counts": [4800]}, "neither polygons"),
        ({"size": [60.0, 80.0], "counts": [4800]}, "neither polygons"),
        ({"size": [80, 60], "counts": [4800]}, "RLE of 60 x 80 px, the image has 80 x 60 px"),
        ({"size": [60, 80], "counts": []}, "neither polygons"),
        ({"size": [60, 80], "counts": [4799]}, "runs do not add up to 80 x 60 px"),
        ({"size": [60, 80], "counts": [-1, 4801]}, "runs do not add up"),
        ({"size": [60, 80], "counts": [2**62, 2**62, 2**62, 2**62, 4800]}, "runs do not add up"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "stands out of the image by more than the image's size"),
        ([[0, 0, 9, 0, 9, -61]], "stands out of the image by more than the image's size"),
        ({"size": [60, 80], "counts": ["a"]}, "neither polygons"),
        ({"size": [60, 80], "counts": [4800.0]}, "neither polygons"),
        ({"size": [60, 80], "counts": None}, "neither polygons"),
        ({"size": [60, 80], "counts": ""}, "neither polygons"),
        ({"size": [60, 80], "counts": "zzz"}, "neither polygons"),
        ({"size": [60, 80], "counts": "0l1"}, "runs do not add up"),
        ({"size": [60, 80], "counts": "l" * 50 + "0"}, "runs do not add up"),
    ],
)
def test_bad_segmentations_are_refused(segmentation, reason):
    with pytest.raises(Unusable, match=f"malformed segmentation: .*{reason}"):
        usable_segmentation(segmentation, HEADER)
