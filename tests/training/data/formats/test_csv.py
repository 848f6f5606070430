import layouts
import numpy as np
import pytest
from layouts import NAMES

from harmonic_tf.training.data import load_data


def written(tmp_path, text, **more):
    spec = layouts.csv(tmp_path / "pets")
    (tmp_path / "pets/annotations.csv").write_text(text)
    return load_data(spec, split="all", **more)


@pytest.mark.parametrize(
    "row, kind",
    [
        ("photos/a.jpg,5,5,5,20,dog", "box of zero area"),
        ("photos/a.jpg,9,5,5,20,dog", "inverted box"),
        ("photos/a.jpg,left,5,5,20,dog", "malformed box"),
        ("photos/a.jpg,1,5,,20,dog", "malformed box"),
        ("photos/a.jpg,1,5", "malformed row"),
        ("photos/a.jpg,1,5,9,20,", "malformed row"),
        ("photos/a.jpg,1,5,9,20,bird", "unknown class"),
        ("photos/a.jpg,nan,5,9,20,dog", "box is not finite"),
        (",1,5,9,20,dog", "malformed row"),
        pytest.param(f"photos/{'a' * 200_000},1,5,9,20,dog", "malformed row", id="long"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_used(tmp_path, row, kind):
    data = written(tmp_path, f"photos/a.jpg,1,2,30,40,dog\n{row}\nphotos/b.jpg,,,,,\n")
    assert [len(record.objects) for record in data.records] == [1, 0]
    (problem,) = data.problems
    assert problem.kind == kind and problem.file.endswith("annotations.csv")
    assert problem.object in ("photos/a.jpg, object 2", "line 2")


@pytest.mark.parametrize(
    "image, kind",
    [("photos/x.jpg", "missing image file"), ("/etc/x.jpg", "file name leads out of the folder")],
)
def test_a_bad_image_is_named_and_the_rest_is_used(tmp_path, image, kind):
    data = written(tmp_path, f"{image},1,2,30,40,dog\nphotos/b.jpg,1,2,30,40,cat\n")
    assert data.image_names == ("photos/b.jpg",)
    assert [p.kind for p in data.problems] == [kind]


def test_images_may_lie_elsewhere_if_that_is_said(tmp_path):
    layouts.images(tmp_path / "elsewhere", "a")
    text = f"{tmp_path}/elsewhere/a.jpg,1,2,30,40,dog\n"
    spec = layouts.csv(tmp_path / "pets")
    (tmp_path / "pets/annotations.csv").write_text(text)
    data = load_data(f"{spec},images=anywhere", split="all", on_bad_data="error")
    np.testing.assert_array_equal(data.records[0].objects.boxes, [[1, 2, 30, 40]])


def test_classes_that_are_numbered_nowhere_are_sorted(tmp_path):
    spec = layouts.csv(tmp_path / "pets")
    (tmp_path / "pets/classes.csv").write_text("dog,0\ncat,1\n")
    assert load_data(spec, split="all").class_names == ("dog", "cat")
    (tmp_path / "pets/classes.csv").write_text("dog,0\ncat\n")
    data = load_data(spec, split="all")
    assert data.class_names == ("dog",)
    assert [p.kind for p in data.problems] == ["malformed class", "unknown class"]
    (tmp_path / "pets/classes.csv").unlink()
    assert load_data(spec, split="all").class_names == ("cat", "dog")


def test_text_as_spreadsheets_write_it(tmp_path):
    text = '\ufeff"photos/a.jpg", 1,2 ,30,40,"dog"\r\n\r\nphotos\\b.jpg,0,0,9.5,9,cat\r\n'
    data = written(tmp_path, text, on_bad_data="error")
    assert data.image_names == ("photos/a.jpg", "photos\\b.jpg")
    np.testing.assert_array_equal(data.records[1].objects.boxes, [[0, 0, 9.5, 9]])


def test_a_quotation_mark_that_is_not_closed_harms_its_own_row_alone(tmp_path):
    rows = ['"photos/a.jpg,1,2,30,40,dog', "photos/b.jpg,1,2,30,40,dog", "photos/c.jpg,1,2,9,9,cat"]
    data = written(tmp_path, "\n".join(rows))
    assert data.image_names == ("photos/b.jpg", "photos/c.jpg")
    (problem,) = data.problems
    assert problem.kind == "missing image file" and rows[0].strip('"') in problem.object


@pytest.mark.parametrize("row", ["photos/a.jpg,1,2,30,dog", "photos/a.jpg,1,2,30,40,dog,1"])
def test_a_folder_is_recognised_whose_first_row_is_bad(tmp_path, row):
    written(tmp_path, f'{row}\n"photos/b.jpg",1,2,30,40,dog\n')
    assert load_data(str(tmp_path / "pets"), split="annotations").image_names[-1] == "photos/b.jpg"


def test_nothing_in_the_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        written(tmp_path, "")
    with pytest.raises(ValueError, match="nowhere.csv: there is no such file"):
        load_data(f"csv:{tmp_path}/nowhere.csv")


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("headings", [False, True])
def test_columns_as_spreadsheets_separate_them(tmp_path, separator, headings):
    write = layouts.csv_headings if headings else layouts.csv
    spec = write(tmp_path / "pets")
    split = load_data(spec).splits[0]
    for file in (tmp_path / "pets").glob("*.csv"):
        file.write_text(file.read_text().replace(",", separator))
    data = load_data(spec, split=split, on_bad_data="error")
    assert data.class_names == ("cat", "dog")
    np.testing.assert_array_equal(data.records[0].objects.boxes, [[10, 15, 30, 45]])
    assert [len(record.objects) for record in data.records] == [1, 2, 0]


def test_a_folder_named_as_keras_retinanet_has_it(tmp_path):
    root = tmp_path / "pets"
    layouts.csv(root)
    assert load_data(str(root), split="annotations", on_bad_data="error").class_names == NAMES
    train, val = load_data(str(root)), load_data(str(root), "eval")
    assert len(train) + len(val) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other/annotations.csv").write_text("id,text\n1,a dog\n")
    with pytest.raises(ValueError, match="looks like none of them"):
        load_data(f"{tmp_path}/other")
    (root / "val_annotations.csv").write_text("photos/b.jpg,0,0,40,30,cat\n")
    train, val = load_data(str(root)), load_data(str(root), "eval")
    assert (train.split, len(train)) == ("train", 3)
    assert (val.split, val.image_names) == ("val_annotations", ("photos/b.jpg",))
    assert train.class_names == val.class_names == NAMES
