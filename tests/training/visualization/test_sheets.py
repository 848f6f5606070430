import dataclasses

import numpy as np
import pytest
from folders import write_voc
from PIL import Image
from rectangles import (
    EVEN,
    LeftHalfFinder,
    RectangleFinder,
    rectangle_data,
    with_left_halves,
)

from harmonic_tf.training.data import Objects, load_data
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.visualization.drawing import class_color
from harmonic_tf.training.visualization.sheets import (
    save_contact_sheet,
    save_detection_sheet,
    save_problem_sheet,
)

DATA = with_left_halves(rectangle_data(EVEN[:1]))


@pytest.fixture(scope="module", params=[RectangleFinder, LeftHalfFinder])
def case(request):
    model = request.param()
    return model.has_masks, evaluate_model(model, DATA, progress=False)


def sheet(evaluation, path):
    """The one image, 96 px wide in the data and 320 on the sheet, behind a border of 8."""
    return np.asarray(Image.open(save_detection_sheet(evaluation, DATA, path))).astype(int)[8:, 8:]


def test_the_sheet_shows_masks_where_there_are_any(case, tmp_path):
    """The red box is x 10 to 40, y 20 to 60; y 50 is below its name."""
    has_masks, evaluation = case
    pixels = sheet(evaluation, tmp_path / "sheet.png")
    left, right = (pixels[50 * 320 // 96, x * 320 // 96] for x in (18, 32))
    red = np.array([255, 0, 0])
    filled = 0.55 * red + 0.45 * np.array(class_color(0))
    np.testing.assert_allclose(left, filled if has_masks else red, atol=3)
    np.testing.assert_allclose(right, red, atol=3)


def test_an_image_without_detections_is_shown_as_it_is(case, tmp_path):
    pixels = sheet(dataclasses.replace(case[1], detections=[]), tmp_path / "sheet.png")
    np.testing.assert_allclose(pixels[50 * 320 // 96, 18 * 320 // 96], [255, 0, 0], atol=3)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_contact_sheets_of_any_number_of_images(tmp_path, count):
    file = save_contact_sheet(load_data(f"shapes:train={count}"), tmp_path / "sheet.png")
    with Image.open(file) as sheet:
        assert sheet.width > 320 * min(count, 4)
        assert sheet.height > 240 * min(4, -(-count // 4))
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 1000


def test_an_image_that_is_gone_is_grey(tmp_path):
    data = load_data("shapes:train=1")
    record = dataclasses.replace(data.records[0], encoded=tmp_path / "gone.jpg")
    without = Objects.of([])
    record = dataclasses.replace(record, objects=without)
    file = save_contact_sheet(dataclasses.replace(data, records=(record,)), tmp_path / "sheet.png")
    with Image.open(file) as sheet:
        colours, counts = np.unique(np.asarray(sheet).reshape(-1, 3), axis=0, return_counts=True)
    assert colours[counts.argmax()].tolist() == [127, 127, 127]


def test_a_contact_sheet_tints_masks(tmp_path):
    data = load_data("shapes:train=1")
    objects = data.records[0].objects
    without = dataclasses.replace(objects, segmentations=(None, *objects.segmentations[1:]))
    record = dataclasses.replace(data.records[0], objects=without)
    fewer = dataclasses.replace(data, records=(record,))
    file, other = (
        save_contact_sheet(d, tmp_path / f"{i}.png") for i, d in enumerate((data, fewer))
    )
    # Only the one object looks another way: by its area, enlarged as the image is.
    with Image.open(file) as sheet, Image.open(other) as fewer_tinted:
        change = np.abs(np.asarray(sheet).astype(int) - np.asarray(fewer_tinted)).max(-1)
    assert 0.6 < (change > 20).sum() / (objects.area[0] * (320 / 208) ** 2) < 1.3


def test_images_of_problems_are_drawn_the_rarest_kinds_first(tmp_path):
    bad = ([("dog", (1, 1, 9, 9)), ("dog", (5, 5, 5, 9))], None)
    worse = ([("dog", (9, 9, 5, 5))], None)
    names = {"a": bad, "b": bad, "c": worse, "d": ([], None)}
    root = write_voc(tmp_path / "pets", names, {"train": list(names)})
    (root / "JPEGImages/d.jpg").unlink()
    data = load_data(f"voc:{root}")
    assert [p.image.name for p in data.problems] == ["a.jpg", "b.jpg", "c.jpg", "c.jpg", "d.jpg"]
    assert data.image_names == ("a.jpg", "b.jpg")
    with Image.open(save_problem_sheet(data, tmp_path / "four.png")) as sheet:
        four = sheet.width
    with Image.open(save_problem_sheet(data, tmp_path / "one.png", count=1)) as sheet:
        assert 3 < four / sheet.width < 5
    whole = dataclasses.replace(data, problems=data.problems[-1:])
    assert save_problem_sheet(whole, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
