import time

import numpy as np
import pytest
from PIL import Image

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.formats.outlines import OUTLINES
from harmonic_tf.training.data.formats.shapes import MIN_VISIBLE, ShapesOptions, draw
from harmonic_tf.training.rle import decode


def test_defaults():
    data = load_data("shapes:train=40,val=30")
    assert len(data) == 40 and len(load_data("shapes:train=40,val=30", role="eval")) == 30
    assert data.class_names == ("blob", "ring", "cross")
    counts = [len(record.objects) for record in data.records]
    assert 1 <= min(counts) and 5 <= max(counts) <= 7
    assert {c for r in data.records for c in r.objects.classes.tolist()} == {0, 1, 2}
    assert ShapesOptions().train == 480 and ShapesOptions().val == 300


def test_boxes_bound_the_masks_of_what_is_visible():
    for index in range(10):
        image, objects = draw(ShapesOptions(), "val", index)
        assert image.shape == (160, 208, 3) and image.dtype == np.uint8
        masks = [decode(rle) for rle in objects.segmentations]
        assert np.sum(masks, axis=0).max() == 1  # a pixel belongs to one object
        for mask, box, area in zip(masks, objects.boxes, objects.area, strict=True):
            rows, columns = np.nonzero(mask)
            bounds = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_array_equal(box, bounds)
            assert area == mask.sum()
            # One plain colour, but for the pixels at the outline.
            typical = np.median(image[mask].astype(int), axis=0)
            plain = np.abs(image[mask] - typical).max(-1) <= 1
            assert plain.mean() > 0.45


def test_masks_are_cocos_rle():
    from pycocotools import mask as coco_mask

    _, objects = draw(ShapesOptions(), "train", 3)
    rle = objects.segmentations[0]
    np.testing.assert_array_equal(
        coco_mask.decode(coco_mask.frPyObjects(rle, *rle["size"])), decode(rle)
    )


def test_hidden_objects_have_no_box(monkeypatch):
    from harmonic_tf.training.data.formats import shapes

    def stacked(rng, class_index, centre):
        return np.ones((30, 30), np.float32), 20, 20

    monkeypatch.setattr(shapes, "_coverage", stacked)
    _, objects = draw(ShapesOptions(), "train", 0)
    np.testing.assert_array_equal(objects.boxes, [[20, 20, 50, 50]])


def test_a_quarter_must_be_visible(monkeypatch):
    from harmonic_tf.training.data.formats import shapes

    places = iter([(0, 0), (0, 8), (60, 60), (60, 67), (100, 100), (150, 100), (10, 120)])

    def squares(rng, class_index, centre):
        left, top = next(places)
        return np.ones((10, 10), np.float32), left, top

    monkeypatch.setattr(shapes, "_coverage", squares)
    monkeypatch.setattr(shapes, "OBJECTS", (7, 7))
    _, objects = draw(ShapesOptions(), "train", 0)
    assert len(objects) == 7
    np.testing.assert_array_equal(objects.boxes[0], [0, 0, 10, 8])
    monkeypatch.setattr(shapes, "_coverage", lambda *_: (np.ones((10, 10), np.float32), -8, 0))
    _, objects = draw(ShapesOptions(), "train", 0)
    assert len(objects) == 0 and MIN_VISIBLE == 0.25


def test_an_image_depends_on_seed_split_and_number_only():
    first, _ = draw(ShapesOptions(), "train", 5)
    again, _ = draw(ShapesOptions(train=9, val=1), "train", 5)
    np.testing.assert_array_equal(first, again)
    for options, split, index in (
        (ShapesOptions(seed=1), "train", 5),
        (ShapesOptions(), "val", 5),
        (ShapesOptions(), "train", 6),
    ):
        assert (draw(options, split, index)[0] != first).any()


def test_options():
    data = load_data("shapes:train=3,classes=6,size=320x240,contrast=low,seed=4")
    assert data.class_names == tuple(OUTLINES)
    assert data.records[0].width == 320 and data.records[0].height == 240
    assert load_data("shapes:train=3", split="train").split == "train"


@pytest.mark.parametrize(
    "options, message",
    [
        ("colour=red", "options are train, val"),
        ("train=many", "cannot read 'train=many'"),
        ("size=208", "cannot read 'size=208'"),
        ("classes=7", "classes must be 1 to 6"),
        ("contrast=none", "contrast must be"),
        ("train=-1", "must not be negative"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        load_data(f"shapes:{options}")


def test_wrong_split_or_classes():
    with pytest.raises(ValueError, match="split must be train or val"):
        load_data("shapes:val=2", split="test")
    with pytest.raises(ValueError, match="shapes draws the classes"):
        load_data("shapes:train=2", class_names=["cat"])


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_irregular(name):
    draws = [OUTLINES[name](np.random.default_rng(seed)) for seed in range(2)]
    shapes = [np.concatenate(polygons) for polygons in draws]
    assert all(np.isfinite(shape).all() for shape in shapes)
    assert shapes[0].shape != shapes[1].shape or (shapes[0] != shapes[1]).any()


def test_images_are_encoded_without_loss_and_drawn_once(tmp_path):
    data = load_data("shapes:train=2,seed=77")
    file = tmp_path / "a.bmp"
    file.write_bytes(data.records[1].stored())
    expected, _ = draw(ShapesOptions(seed=77), "train", 1)
    np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
    start = time.perf_counter()
    assert load_data("shapes:train=2,seed=77").records is data.records
    assert time.perf_counter() - start < 0.1
