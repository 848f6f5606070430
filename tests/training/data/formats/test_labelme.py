import base64
import json
import math
from pathlib import Path

import layouts
import numpy as np
import pytest

from harmonic_tf.training.data import load_data


def with_shapes(tmp_path, *shapes):
    """Three images; the shapes of the first are these."""
    spec = layouts.labelme(tmp_path / "pets")
    content = layouts.labelme_content("a") | {"shapes": list(shapes)}
    layouts.write_json(tmp_path / "pets/a.json", content)
    return load_data(spec, split="all")


def shape(points, kind="polygon", label="dog", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


def test_polygons_have_masks(tmp_path):
    data = with_shapes(tmp_path, shape([[10, 20], [30, 20], [30, 50]]))
    objects = data.records[0].objects
    np.testing.assert_array_equal(objects.boxes, [[10, 20, 30, 50]])
    assert objects.segmentations == ([[10, 20, 30, 20, 30, 50]],)


def test_a_circle_has_the_box_and_nearly_the_area_of_one(tmp_path):
    data = with_shapes(tmp_path, shape([[40, 30], [40, 50]], "circle"))
    objects = data.records[0].objects
    np.testing.assert_allclose(objects.boxes, [[20, 10, 60, 50]], atol=1e-5)
    ((polygon,),) = objects.segmentations
    x, y = np.reshape(polygon, (-1, 2)).T
    area = abs(np.sum(x * np.roll(y, 1) - y * np.roll(x, 1))) / 2
    assert 0.97 * math.pi * 20**2 < area < math.pi * 20**2


def test_a_rectangle_may_be_drawn_from_any_corner(tmp_path):
    data = with_shapes(tmp_path, shape([[30, 10], [10, 50]], "rectangle"))
    np.testing.assert_array_equal(data.records[0].objects.boxes, [[10, 10, 30, 50]])
    assert data.records[0].objects.segmentations == (None,)


def test_a_rectangle_may_have_four_points(tmp_path):
    """As X-AnyLabeling writes it."""
    layouts.labelme(tmp_path)
    content = json.loads((tmp_path / "a.json").read_text())
    content["shapes"][0]["points"] = [[10, 15], [30, 15], [30, 45], [10, 45]]
    (tmp_path / "a.json").write_text(json.dumps(content))
    objects = load_data(f"labelme:{tmp_path}", split="all", on_bad_data="error").records[0].objects
    assert objects.boxes.tolist() == [[10, 15, 30, 45]] and objects.segmentations == (None,)


def test_a_folder_is_recognised_beside_files_of_others_and_broken_ones(tmp_path):
    layouts.labelme(tmp_path)
    (tmp_path / "_settings.json").write_text('{"name": "shapes"}')
    (tmp_path / "a.json").write_text('{"shapes": [')
    data = load_data(str(tmp_path), split="all")
    assert data.notes[0].endswith("is read as labelme") and len(data) == 2
    assert [Path(problem.file).name for problem in data.problems] == ["_settings.json", "a.json"]
    (tmp_path / "b.json").write_bytes((tmp_path / "b.json").read_text().encode("utf-16"))
    (tmp_path / "c.json").unlink()
    (tmp_path / "a.json").unlink()
    assert len(load_data(str(tmp_path), split="all")) == 1


def test_shapes_of_one_label_and_group_are_one_object(tmp_path):
    left, right = [[0, 0], [9, 0], [9, 9]], [[20, 20], [40, 20], [40, 30]]
    data = with_shapes(
        tmp_path, shape(left, group=1), shape(right, group=1), shape(left, label="cat", group=1)
    )
    np.testing.assert_array_equal(data.records[0].objects.boxes, [[0, 0, 40, 30], [0, 0, 9, 9]])
    assert len(data.records[0].objects.segmentations[0]) == 2


@pytest.mark.parametrize(
    "bad, kind",
    [
        (shape([[1, 1]], "point"), "shape without an area"),
        (shape([[1, 1], [9, 9]], "line"), "shape without an area"),
        (shape([[1, 1], [9, 9]]), "malformed points"),
        (shape([[1, 1]], "rectangle"), "malformed points"),
        (shape([[1, 1], [1, 1]], "circle"), "malformed points"),
        (shape([[1, 1], [1, "x"], [2, 2]]), "malformed points"),
        (shape(None), "malformed points"),
        (shape([[1, 1], [9, 1]], "rectangle"), "box of zero area"),
        (shape([[1, 1], [9, 9]], "rectangle", label=""), "malformed JSON"),
        ("no shape", "malformed JSON"),
    ],
)
def test_a_bad_shape_is_named_and_the_rest_is_used(tmp_path, bad, kind):
    data = with_shapes(tmp_path, shape([[1, 1], [9, 9]], "rectangle"), bad)
    assert [len(record.objects) for record in data.records] == [1, 2, 0]
    (problem,) = data.problems
    assert (problem.object, problem.kind) == ("object 2", kind)
    assert problem.file.endswith("a.json")


@pytest.mark.parametrize(
    "content, kind",
    [
        ("{", "malformed JSON"),
        ("[]", "malformed JSON"),
        ('{"shapes": 3}', "malformed JSON"),
        ('{"shapes": []}', "missing image file"),
        ('{"shapes": [], "imagePath": "/etc/x.jpg"}', "file name leads out of the folder"),
        ('{"shapes": [], "imagePath": "x.jpg", "imageData": "?"}', "unreadable image file"),
        ('{"shapes": [], "imagePath": "x.jpg", "imageData": 7}', "unreadable image file"),
        ('{"shapes": [], "imagePath": "b.jpg", "imageHeight": 9, "imageWidth": 9}', "size in the"),
    ],
)
def test_a_bad_file_is_named_and_the_rest_is_used(tmp_path, content, kind):
    spec = layouts.labelme(tmp_path / "pets")
    (tmp_path / "pets/a.jpg").unlink()
    (tmp_path / "pets/a.json").write_text(content)
    data = load_data(spec, split="all")
    assert data.image_names == ("b.jpg", "c.jpg")
    (problem,) = data.problems
    assert problem.kind.startswith(kind) and "/a.j" in problem.file


def test_an_embedded_image_is_read_when_it_is_needed(tmp_path):
    spec = layouts.labelme_embedded(tmp_path / "pets")
    record = load_data(spec, split="all").records[0]
    content = json.loads((tmp_path / "pets/a.json").read_text())
    content["imageData"] = base64.b64encode(layouts.jpeg("b")).decode()
    layouts.write_json(tmp_path / "pets/a.json", content)
    assert record.stored() == layouts.jpeg("b")


def test_folders_named_as_splits_are(tmp_path):
    layouts.labelme(tmp_path / "pets/train")
    layouts.labelme(tmp_path / "pets/val")
    for role, split in (("train", "train"), ("eval", "val")):
        data = load_data(f"labelme:{tmp_path}/pets", role)
        assert (data.split, len(data)) == (split, 3)
