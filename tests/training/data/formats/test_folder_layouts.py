import layouts
import numpy as np
import pytest
from layouts import BOXES, NAMES, WITH_SPLITS, WITHOUT_SPLITS

from harmonic_tf.training.data import load_data


@pytest.mark.parametrize("write", WITH_SPLITS + WITHOUT_SPLITS, ids=lambda write: write.__name__)
def test_every_layout_gives_the_same_records(tmp_path, write):
    spec = write(tmp_path / "pets")
    split = None if write in WITH_SPLITS else load_data(spec).splits[0]
    before = files(tmp_path)
    data = load_data(spec, split=split, on_bad_data="error")
    assert files(tmp_path) == before
    assert data.class_names == NAMES and data.category_ids == (1, 2)
    assert [name.rpartition("/")[2] for name in data.image_names] == ["a.jpg", "b.jpg", "c.jpg"]
    for record, name in zip(data.records, BOXES, strict=True):
        boxes = np.reshape([box for _, box in BOXES[name]], (-1, 4))
        np.testing.assert_allclose(record.objects.boxes, boxes, atol=1e-4)
        assert [NAMES[index] for index in record.objects.classes] == [n for n, _ in BOXES[name]]
        assert record.stored() == layouts.jpeg(name)
        assert (record.height, record.width) == (60, 80) and record.digest


@pytest.mark.parametrize(
    "write",
    [
        layouts.voc,
        layouts.voc_without_lists,
        layouts.voc_flat,
        layouts.yolo,
        layouts.coco,
        layouts.labelme,
        layouts.csv_headings,
    ],
    ids=lambda write: write.__name__,
)
def test_suffixes_may_be_in_any_case(tmp_path, write):
    spec = write(tmp_path / "pets")
    for file in list((tmp_path / "pets").rglob("*.*")):
        if file.suffix in (".xml", ".txt", ".json", ".csv", ".jpg"):
            text = file.read_bytes().replace(b".jpg", b".JPG") if file.suffix != ".jpg" else None
            renamed = file.rename(file.with_suffix(file.suffix.upper()))
            if text:
                renamed.write_bytes(text)
    for place in (spec, str(tmp_path / "pets")):
        data = load_data(place, split=load_data(spec).splits[0], on_bad_data="error")
        assert [name.rpartition("/")[2] for name in data.image_names] == ["a.JPG", "b.JPG", "c.JPG"]
        assert [len(record.objects) for record in data.records] == [1, 2, 0]


@pytest.mark.parametrize(
    "write", [layouts.labelme, layouts.voc_without_lists, layouts.yolo, layouts.tfrecord_label_map]
)
def test_linked_folders_and_the_files_of_macos(tmp_path, write):
    """A link that leads back ends nothing; `._a.xml` is no annotation."""
    write(tmp_path / "elsewhere")
    if write is layouts.labelme:
        (tmp_path / "pets/mine").parent.mkdir()
        (tmp_path / "pets/mine").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "pets").symlink_to(tmp_path / "elsewhere")
        for folder in ("JPEGImages", "Annotations", "images/train", "labels/train"):
            if (tmp_path / "pets" / folder).is_dir():
                (tmp_path / "pets" / folder / "back").symlink_to(tmp_path / "pets" / folder)
    for file in list((tmp_path / "elsewhere").rglob("*")):
        if file.is_file():
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
    spec = f"{write.__name__.partition('_')[0]}:{tmp_path}/pets"
    data = load_data(spec, split=load_data(spec).splits[0], on_bad_data="error")
    assert [name.rpartition("/")[2] for name in data.image_names] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "write",
    [layouts.voc_without_lists, layouts.voc_flat, layouts.labelme, layouts.labelme_embedded],
)
def test_images_that_nobody_annotated_are_counted_and_named(tmp_path, write):
    spec = write(tmp_path / "pets")
    assert load_data(spec, split="all").notes == ()
    layouts.images(tmp_path / "pets" / ("JPEGImages" if "lists" in write.__name__ else ""), "defg")
    data = load_data(spec, split="all", on_bad_data="error")
    assert len(data) == 3 and data.notes == (
        "images without an annotation file are left out: 4 (d.jpg, e.jpg, f.jpg, ...); an "
        "annotation file without objects makes one an image without objects",
    )


@pytest.mark.parametrize("write", [layouts.coco_cvat, layouts.csv, layouts.labelme])
def test_a_path_of_windows_leads_out_of_the_folder(tmp_path, write):
    spec = write(tmp_path / "pets")
    for file in (tmp_path / "pets").rglob("*"):
        if file.suffix in (".csv", ".json"):
            path = "C:/me/a.jpg" if file.suffix == ".csv" else r"C:\\me\\a.jpg"
            file.write_text(
                file.read_text().replace("photos/a.jpg", path).replace('"a.jpg', f'"{path}')
            )
    data = load_data(spec, split=load_data(spec).splits[0])
    assert [name.rpartition("/")[2] for name in data.image_names] == ["b.jpg", "c.jpg"]
    assert {p.kind for p in data.problems} == {"file name leads out of the folder"}


HARMS = {
    layouts.yolo_bare: ("labels/a.txt", "1 0.25 0.5", "1 0.25 half"),
    layouts.csv: ("annotations.csv", "a.jpg,10,", "a.jpg,ten,"),
    layouts.voc_without_lists: ("Annotations/a.xml", "<xmin>11", "<xmin>60"),
    layouts.coco_cvat: ("annotations/instances_default.json", "[10, 15, 20, 30]", "[10, 15, 20]"),
    layouts.labelme: ("a.json", "rectangle", "point"),
}


@pytest.mark.parametrize("write", HARMS, ids=lambda write: write.__name__)
def test_an_image_whose_objects_are_all_bad_is_none_without_objects(tmp_path, write):
    spec = write(tmp_path / "pets")
    file, good, bad = HARMS[write]
    text = (tmp_path / "pets" / file).read_text()
    assert good in text
    (tmp_path / "pets" / file).write_text(text.replace(good, bad))
    data = load_data(spec, split=load_data(spec).splits[0])
    assert [name.rpartition("/")[2] for name in data.image_names] == ["b.jpg", "c.jpg"]
    assert [len(record.objects) for record in data.records] == [2, 0]
    assert len(data.problems) == 2
    assert data.problems[1].reason == "no usable object: 1 bad, and no other in this image"


@pytest.mark.parametrize("write", HARMS, ids=lambda write: write.__name__)
def test_an_image_with_objects_of_other_classes_alone_has_none(tmp_path, write):
    spec = write(tmp_path / "pets")
    data = load_data(spec, split=load_data(spec).splits[0], class_names=["cat"])
    assert [len(record.objects) for record in data.records] == [0, 1, 0]
    assert data.other_classes == ("dog",) and len(data.problems) == 2


def test_a_folder_that_holds_data_sets_is_none(tmp_path):
    layouts.labelme(tmp_path / "mine")
    layouts.coco(tmp_path / "theirs")
    inside = "looks like none of them. In it mine looks like labelme, theirs looks like coco.$"
    with pytest.raises(ValueError, match=inside):
        load_data(str(tmp_path))
    assert len(load_data(f"labelme:{tmp_path}/mine", split="all")) == 3


@pytest.mark.parametrize(
    "write, kind",
    [
        (layouts.yolo, "voc"),
        (layouts.yolo_labelimg, "labelme"),
        (layouts.voc, "coco"),
        (layouts.coco, "labelme"),
        (layouts.coco_cvat, "voc"),
        (layouts.labelme, "tfrecord"),
        (layouts.csv_headings, "yolo"),
        (layouts.tfrecord_label_map, "csv"),
    ],
)
def test_a_wrong_format_is_told_with_the_one_it_looks_like(tmp_path, write, kind):
    place = tmp_path / "pets"
    right = write(place).partition(":")[0]
    with pytest.raises(ValueError) as error:
        load_data(f"{kind}:{place}")
    assert str(error.value).endswith(f"It looks like {right}: say {right}:{place}.")


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo", "labelme", "csv", "tfrecord"])
def test_a_place_that_is_not_there_is_said_to_be_missing(tmp_path, kind):
    with pytest.raises(ValueError) as error:
        load_data(f"{kind}:{tmp_path}/nowhere")
    assert str(error.value) == f"{kind}:{tmp_path}/nowhere: there is no such file or folder."


def files(folder) -> dict:
    return {f: f.stat().st_mtime_ns for f in folder.rglob("*")}


@pytest.mark.parametrize("write", WITH_SPLITS + WITHOUT_SPLITS, ids=lambda write: write.__name__)
def test_a_path_alone_is_recognised(tmp_path, write):
    kind, _, place = write(tmp_path / "pets").partition(":")
    place = place if ".json" in place or ".csv" in place else str(tmp_path / "pets")
    data = load_data(place)
    assert data.notes[0] == f"{place} is read as {kind}"


def test_two_formats_that_fit_are_both_named(tmp_path):
    layouts.voc(tmp_path)
    layouts.coco(tmp_path)
    with pytest.raises(ValueError) as error:
        load_data(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} looks like voc and coco: say voc:{tmp_path} or coco:{tmp_path}."
    )


def test_a_path_of_no_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="looks like none of them"):
        load_data(str(tmp_path))
    with pytest.raises(ValueError, match="received 'nowhere/at/all'"):
        load_data("nowhere/at/all")
