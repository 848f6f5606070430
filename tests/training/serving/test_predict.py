import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rectangles import (
    CATEGORY_IDS,
    CLASS_NAMES,
    IMAGES,
    SCORES,
    LeftHalfFinder,
    RectangleFinder,
    draw,
)

from harmonic_tf.training.labels import Labels
from harmonic_tf.training.rle import decode
from harmonic_tf.training.serving.predict import find_images, image_names, predict_images
from harmonic_tf.training.visualization.drawing import class_color

LABELS = Labels(CLASS_NAMES, CATEGORY_IDS)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index, (height, width, boxes) in enumerate(IMAGES):
        Image.fromarray(draw(height, width, boxes)).save(folder / f"{index}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def predict(folder, output, paths=None, **options):
    return predict_images(
        RectangleFinder(), paths or [folder], LABELS, output, progress=False, **options
    )


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_results_are_coco_results_in_original_pixels(folder, tmp_path, batch_size):
    predictions = predict(folder, tmp_path / "out", batch_size=batch_size)
    assert predictions.problems == ()
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert results == predictions.results
    found = {(r["image_id"], r["category_id"]): (r["bbox"], r["file_name"]) for r in results}
    assert found == {
        (index, CATEGORY_IDS[c]): ([x1, y1, x2 - x1, y2 - y1], str(folder / f"{index}.png"))
        for index, (_, _, boxes) in enumerate(IMAGES)
        for c, (x1, y1, x2, y2) in boxes.items()
    }
    scores = {r["category_id"]: r["score"] for r in results}
    assert scores == pytest.approx(dict(zip(CATEGORY_IDS, SCORES, strict=True)))


def test_images_show_the_boxes_above_the_display_threshold(folder, tmp_path):
    """Class 1 has 0.8 and class 2 has 0.7: at 0.75 only the first is drawn, both are listed."""
    predictions = predict(folder, tmp_path / "out", [folder / "1.png"], score_threshold=0.75)
    assert len(predictions.results) == 2
    (path,) = predictions.images
    assert path == tmp_path / "out" / "images" / "1.jpg"
    pixels = np.asarray(Image.open(path)).astype(int)
    factor = pixels.shape[0] // 32

    def edge_is(color, x, y):
        patch = pixels[y * factor : y * factor + 2, x * factor]
        return np.abs(patch - color).max() < 60

    assert edge_is(class_color(1), 4, 20)
    assert not edge_is(class_color(2), 21, 20)


def test_masks_are_written_and_drawn(folder, tmp_path):
    """Class 1 fills x from 4 to 20 in 1.png: its left half ends at 12."""
    predictions = predict_images(
        LeftHalfFinder(), [folder / "1.png"], LABELS, tmp_path / "out", progress=False
    )
    results = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert results == predictions.results
    mask = decode(results[0]["segmentation"])
    expected = np.zeros((32, 48), bool)
    expected[4:30, 4:12] = True
    np.testing.assert_array_equal(mask, expected)
    pixels = np.asarray(Image.open(predictions.images[0])).astype(int)
    factor = pixels.shape[0] // 32
    inside, outside = pixels[25 * factor, 8 * factor], pixels[25 * factor, 16 * factor]
    green = np.array([0, 255, 0])
    np.testing.assert_allclose(inside, 0.55 * green + 0.45 * np.array(class_color(1)), atol=12)
    np.testing.assert_allclose(outside, green, atol=12)


def test_unreadable_images_are_named_and_skipped(folder, tmp_path):
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:60])
    predictions = predict(folder, tmp_path / "out", batch_size=2)
    assert len(predictions.images) == 4
    assert [Path(line.partition(":")[0]).name for line in predictions.problems] == [
        "2.png",
        "broken.png",
    ]
    assert "\n" not in "".join(predictions.problems)
    assert {r["file_name"] for r in predictions.results} == {
        str(folder / f"{i}.png") for i in (0, 1, 3, 4)
    }


def test_a_name_that_is_no_utf8_is_written_all_the_same(folder, tmp_path):
    odd = folder / os.fsdecode(b"k\xe4se.png")
    try:
        (folder / "0.png").rename(odd)
    except OSError:
        pytest.skip("the file system takes no such name")
    predictions = predict(folder, tmp_path / "out")
    assert not predictions.problems and len(predictions.images) == len(IMAGES)
    results = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert results == predictions.results
    assert str(odd) in {result["file_name"] for result in results}


def test_no_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the images(.|\n)*a.jpg"):
        predict(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.json").exists()


def test_an_image_without_detections_is_drawn_and_gives_an_empty_list(folder, tmp_path):
    predictions = predict(folder, tmp_path / "out", [folder / "2.png"])
    assert predictions.results == [] and len(predictions.images) == 1
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []


def test_folders_patterns_and_files_expand_once_each(folder):
    everything = [folder / f"{index}.png" for index in range(5)]
    assert find_images([folder]) == everything
    assert find_images([str(folder / "*.png")]) == everything
    reordered = [everything[i] for i in (3, 0, 1, 2, 4)]
    assert find_images([folder / "3.png", folder]) == reordered
    assert find_images([folder / "notes.txt"]) == [folder / "notes.txt"]


@pytest.mark.parametrize("name", ["absent.png", "*.gif", "in/sub"])
def test_paths_without_images_are_named(folder, name):
    (folder / "in" / "sub").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_images([folder / name])


def test_names_do_not_collide():
    files = [Path("a/x.jpg"), Path("b/x.png"), Path("x-2.bmp"), Path("x.gif")]
    assert image_names(files) == ["x.jpg", "x-2.jpg", "x-2-2.jpg", "x-3.jpg"]


def test_images_are_seen_as_a_viewer_shows_them(tmp_path):
    """Turned, with a palette, of kinds that TensorFlow does not decode."""
    folder, boxes = tmp_path / "in", {1: (4, 4, 20, 30)}
    folder.mkdir()
    upright = Image.fromarray(draw(32, 48, boxes))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(folder / "a.png", exif=exif)
    stored.save(folder / "b.webp", lossless=True, exif=exif)
    stored.save(folder / "c.tif", exif=exif)
    stored.save(folder / "d.Jpg", "JPEG", exif=exif, quality=100, subsampling=0)
    upright.convert("P").save(folder / "e.bmp")
    upright.convert("P").save(folder / "f.gif")
    predictions = predict(folder, tmp_path / "out", batch_size=4)
    assert predictions.problems == ()
    assert [Path(r["file_name"]).suffix for r in predictions.results] == [
        *(".png", ".webp", ".tif", ".Jpg", ".bmp", ".gif")
    ]
    for result, file in zip(predictions.results, predictions.images, strict=True):
        np.testing.assert_allclose(result["bbox"], [4, 4, 16, 26], atol=1)
        drawn = np.asarray(Image.open(file))
        assert drawn.shape[0] / drawn.shape[1] == 32 / 48


@pytest.mark.parametrize("size", [(3000, 20), (4000, 1), (1, 4000), (9000, 300), (60_000, 2)])
def test_strips_are_drawn_smaller_and_do_not_stop_the_others(folder, tmp_path, size):
    Image.new("RGB", size, (9, 99, 9)).save(folder / "strip.png")
    predictions = predict(folder, tmp_path / "out")
    assert len(predictions.images) == 6 and predictions.problems == ()
    with Image.open(predictions.images[-1]) as image:
        assert max(image.size) <= 10_000


def test_too_large_images_are_named_and_do_not_stop_the_others(folder, tmp_path):
    Image.new("1", (12_000, 12_000)).save(folder / "large.png")
    predictions = predict(folder, tmp_path / "out")
    (problem,) = predictions.problems
    assert "large.png: image too large: 12000 x 12000 px" in problem
    assert len(predictions.images) == 5


def test_results_are_kept_where_the_drawing_fails(folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr("harmonic_tf.training.serving.predict.draw_boxes", fail)
    predictions = predict(folder, tmp_path / "out")
    assert predictions.images == () and len(predictions.results) == 6
    assert "0.png: cannot be drawn: no room" in predictions.problems[0]
    assert (tmp_path / "out/predictions.json").exists()
