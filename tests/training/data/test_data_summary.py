import dataclasses
import io

import numpy as np
import pytest
from folders import write_voc
from PIL import Image
from rich.console import Console

from harmonic_tf.training.data import describe, load_data


def printed(data, folder):
    console = Console(file=io.StringIO(), width=200)
    file = describe(data, folder, console)
    return " ".join(console.file.getvalue().split()), file


def test_what_a_person_wants_to_know(tmp_path):
    pictures = {
        "a": (
            [("dog", (1, 1, 20, 20)), ("dog", (1, 1, 40, 60), True), ("cat", (5, 5, 5, 5))],
            None,
        ),
        "b": ([], None),
    }
    root = write_voc(tmp_path / "pets", pictures, {"train": ["a", "b"]})
    text, file = printed(load_data(f"voc:{root}"), tmp_path / "out" / "pets")
    for part in (
        "pets, train",
        "pictures │ 2, 1 of them without objects",
        "objects │ 2 of 2 classes",
        "objects a picture │ 0 / 0 / 1 / 2 / 2",
        "object sizes │ 1 small (50 %), 1 medium (50 %), 0 large (0 %)",
        "masks │ 0 of 2 objects",
        "difficult, crowd │ 1, 0",
        "│ cat │ 0 │ 0.0 % │ 0 │ - │ - │",
        "│ dog │ 2 │ 100.0 % │ 1 │ 30 px │ 40 px │",
        "box of zero area (1)",
        "a.xml, object 3 (cat)",
    ):
        assert part in text
    assert file == tmp_path / "out" / "pets" / "contact_sheet.png"
    assert file.is_file()


@pytest.mark.parametrize("count", [1, 3, 20])
def test_contact_sheets_of_any_number_of_pictures(tmp_path, count):
    text, file = printed(load_data(f"shapes:train={count}"), tmp_path)
    assert "problems │ 0" in text and "Left out" not in text
    with Image.open(file) as sheet:
        assert sheet.width > 400 * min(count, 4)
        assert sheet.height > 300 * min(4, -(-count // 4))
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 1000


def test_masks_are_counted_and_tinted(tmp_path):
    data = load_data("shapes:train=1")
    objects = data.records[0].objects
    without = dataclasses.replace(objects, segmentations=(None, *objects.segmentations[1:]))
    record = dataclasses.replace(data.records[0], objects=without)
    fewer = dataclasses.replace(data, records=(record,))
    text, file = printed(data, tmp_path / "all")
    assert f"masks │ {len(objects)} of {len(objects)} objects" in text
    text, other = printed(fewer, tmp_path / "fewer")
    assert f"masks │ {len(objects) - 1} of {len(objects)} objects" in text
    # Only the one object looks another way: by its area, enlarged as the picture is.
    with Image.open(file) as sheet, Image.open(other) as fewer_tinted:
        differs = (np.asarray(sheet) != np.asarray(fewer_tinted)).any(-1)
    scale = min(400 / 208, 300 / 160)
    assert 0.6 < differs.sum() / (objects.area[0] * scale**2) < 1.2


def test_data_without_objects(tmp_path):
    root = write_voc(tmp_path, {"a": ([], None)}, {"train": ["a"]})
    text, _ = printed(load_data(f"voc:{root}", class_names=["dog"]), tmp_path)
    assert "box width │ - px" in text
