import layouts
import numpy as np
import pytest

from harmonic_tf.training.data import load_data


def kinds(data):
    return [(p.file.rsplit("/", 1)[-1], p.object, p.kind) for p in data.problems]


def bare(tmp_path, text, **more):
    """Three images; the labels of the first are `text`."""
    spec = layouts.yolo_bare(tmp_path / "pets")
    (tmp_path / "pets/labels/a.txt").write_text(text)
    return load_data(spec, split="all", **more)


def test_a_polygon_becomes_a_mask_and_the_box_around_it(tmp_path):
    data = bare(tmp_path, "1 0.25 0.5 0.5 0.5 0.5 0.75\n")
    objects = data.records[0].objects
    np.testing.assert_allclose(objects.boxes, [[20, 30, 40, 45]])
    assert objects.segmentations == ([[20, 30, 40, 30, 40, 45]],)
    assert objects.classes.tolist() == [1] and data.problems == ()


@pytest.mark.parametrize(
    "line, kind",
    [
        ("1 0.5 0.5 0.2", "malformed label"),
        ("1", "malformed label"),
        ("1 0.5 0.5 0.2 0.2 0.9", "malformed label"),
        ("1 0.5 0.5 wide 0.2", "malformed box"),
        ("1 40 30 20 20", "coordinates in pixels"),
        ("1 0.5 0.5 0 0.2", "box of zero area"),
        ("1 0.5 0.5 -0.2 0.2", "inverted box"),
        ("1 nan 0.5 0.2 0.2", "box is not finite"),
        ("1 1.4 0.5 0.2 0.2", "box outside the image"),
        ("2 0.5 0.5 0.2 0.2", "unknown class"),
        ("bird 0.5 0.5 0.2 0.2", "unknown class"),
        ("1.5 0.5 0.5 0.2 0.2", "unknown class"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_used(tmp_path, line, kind):
    data = bare(tmp_path, f"0 0.5 0.5 0.25 0.25\n\n{line}\n")
    assert [len(record.objects) for record in data.records] == [1, 2, 0]
    assert kinds(data) == [("a.txt", "object 2", kind)]


def test_a_bad_image_is_named_and_the_rest_is_used(tmp_path):
    spec = layouts.yolo_bare(tmp_path / "pets")
    (tmp_path / "pets/images/a.jpg").write_bytes(b"")
    (tmp_path / "pets/images/b.jpg").unlink()
    (tmp_path / "pets/labels/c.txt").mkdir()
    layouts.images(tmp_path / "pets/images", "de")
    data = load_data(spec, split="all")
    assert data.image_names == ("d.jpg", "e.jpg")
    assert kinds(data) == [
        ("b.txt", None, "missing image file"),
        ("c.txt", None, "unreadable annotation file"),
        ("a.jpg", None, "unreadable image file"),
    ]


def test_classes_without_names_go_by_their_numbers(tmp_path):
    spec = layouts.yolo_bare(tmp_path / "pets")
    (tmp_path / "pets/labels/classes.txt").unlink()
    (tmp_path / "pets/labels/a.txt").write_text("2 0.5 0.5 0.25 0.25\n")
    data = load_data(spec, split="all")
    assert data.class_names == ("class 0", "class 1", "class 2")
    assert data.records[0].objects.classes.tolist() == [2]


def test_key_points_are_passed_over(tmp_path):
    spec = layouts.yolo(tmp_path / "pets")
    with (tmp_path / "pets/data.yaml").open("a") as file:
        file.write("kpt_shape: [2, 2]\n")
    (tmp_path / "pets/labels/train/a.txt").write_text("1 .5 .5 .25 .5 .1 .1 .9 .9\n")
    data = load_data(spec)
    np.testing.assert_allclose(data.records[0].objects.boxes, [[30, 15, 50, 45]])
    assert data.records[0].objects.segmentations == (None,)


def test_evaluation_takes_valid_else_val_else_test(tmp_path):
    root = tmp_path / "pets"
    for split in ("train", "test", "val", "valid"):
        layouts.images(root / split / "images", "ab")
        layouts.yolo_labels(root / split / "labels", "ab")
        expected = split if split != "train" else None
        if expected:
            assert load_data(f"yolo:{root}", "eval").split == expected
        assert load_data(f"yolo:{root}").split == "train"
    assert load_data(f"yolo:{root}", "eval", split="test").split == "test"


def test_any_further_split_may_be_named(tmp_path):
    spec = layouts.yolo(tmp_path / "pets")
    layouts.images(tmp_path / "pets/images/crowd", "a")
    with (tmp_path / "pets/data.yaml").open("a") as file:
        file.write("test_crowd: images/crowd\ntest: images/nowhere\n")
    data = load_data(spec, split="test_crowd")
    assert data.image_names == ("a.jpg",) and data.splits == ("train", "test_crowd")


def test_a_training_split_that_is_not_there_is_an_error(tmp_path):
    spec = layouts.yolo(tmp_path / "pets")
    (tmp_path / "pets/images/train").rename(tmp_path / "pets/images/elsewhere")
    with pytest.raises(ValueError, match="train is neither a folder nor a list: .*images/train"):
        load_data(spec)


@pytest.mark.parametrize("content", ["[1", "- 1\n", "names: 3\n", "names: {a: b}\n", ""])
def test_a_broken_configuration_is_named(tmp_path, content):
    layouts.yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    with pytest.raises(ValueError, match="data.yaml: not the data.yaml of a YOLO folder"):
        load_data(f"yolo:{tmp_path}")


def test_lists_that_lead_out_are_refused_unless_allowed(tmp_path):
    spec = layouts.yolo_list(tmp_path / "pets").removesuffix("/data.yaml")
    layouts.images(tmp_path / "elsewhere", "a")
    with (tmp_path / "pets/train.txt").open("a") as file:
        file.write("../elsewhere/a.jpg\n")
    data = load_data(spec)
    assert len(data) == 3
    assert [p.kind for p in data.problems] == ["file name leads out of the folder"]
    assert len(load_data(f"{spec},images=anywhere", on_bad_data="error")) == 4
    with pytest.raises(ValueError, match="images must be anywhere, received 'photos'"):
        load_data(f"{spec},images=photos")


def test_a_configuration_that_leads_out_is_refused_unless_that_is_allowed(tmp_path):
    layouts.yolo(tmp_path / "pets")
    text = "path: ../pets\ntrain: images/train\nnames: [cat, dog]\n"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/pets.yaml").write_text(text)
    spec = f"yolo:{tmp_path}/elsewhere/pets.yaml"
    with pytest.raises(ValueError, match="file name leads out of the folder: .*add ',images=any"):
        load_data(spec)
    assert len(load_data(f"{spec},images=anywhere", on_bad_data="error")) == 3


def configured(root, text, file="data.yaml", **more):
    layouts.yolo(root)
    (root / "data.yaml").unlink()
    (root / file).write_text(text)
    return load_data(f"yolo:{root}", **more)


@pytest.mark.parametrize(
    "text, place",
    [
        ("train: C:\\Users\\me\\pets\\images\\train", "C:\\Users\\me\\pets\\images\\train"),
        ("train: /mnt/me/pets/images/train", "/mnt/me/pets/images/train"),
        ("path: /content\ntrain: /content/images/train/", "/content/images/train/"),
        ("path: C:\\pets\ntrain: images\\train", None),
        ("path: /content/pets\ntrain: images/train", None),
        ("path: ../datasets/pets\ntrain: ../images/train", None),
    ],
)
def test_paths_of_another_machine_are_looked_for_beside(tmp_path, text, place):
    data = configured(tmp_path / "pets", f"{text}\nnames: [cat, dog]\n", on_bad_data="error")
    assert data.image_names == ("a.jpg", "b.jpg", "c.jpg")
    found = tmp_path / "pets/images/train"
    note = f"data.yaml: {place} is not there, so train is read from {found}"
    assert data.notes == ((note,) if place else ())


def test_images_alone_is_no_end_of_a_path(tmp_path):
    """Or it would be trained and evaluated on the same images."""
    with pytest.raises(ValueError, match="train is neither a folder nor a list: /mnt/me/tr"):
        configured(tmp_path / "pets", "train: /mnt/me/train/images\nnames: [cat, dog]\n")


def test_a_list_of_another_machine_is_read_beside(tmp_path):
    spec = layouts.yolo_list(tmp_path / "pets").removesuffix("/data.yaml")
    (tmp_path / "pets/train.txt").write_text(
        "./images/a.jpg\nD:\\pets\\images\\b.jpg\n/content/pets/images/nowhere.jpg\n"
    )
    data = load_data(spec)
    assert data.image_names == ("images/a.jpg", "images/b.jpg")
    assert [p.kind for p in data.problems] == ["file name leads out of the folder"]
    assert data.notes == (
        "train.txt: 1 of 3 images are not where it says; they are read from elsewhere, as "
        f"D:\\pets\\images\\b.jpg from {tmp_path}/pets/images/b.jpg",
    )


def test_another_yaml_is_read_if_it_is_the_only_one_like_it(tmp_path):
    root = tmp_path / "pets"
    data = configured(root, "train: images/train\nnames: [cat, dog]\n", "my pets.YAML")
    assert data.class_names == ("cat", "dog") and data.splits == ("train",)
    assert data.notes == ("my pets.YAML is read as data.yaml",)
    (root / "compose.yaml").write_text("services: {web: 3}\n")
    assert load_data(str(root)).notes[0] == f"{root} is read as yolo"
    (root / "b.yml").write_text("val: images/train\nnc: 2\n")
    with pytest.raises(ValueError, match="each of b.yml, my pets.YAML is like a data.yaml; name o"):
        load_data(f"yolo:{root}")
    assert load_data(f"yolo:{root}/my pets.YAML").class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("nc: 5\nnames: [cat, dog]", "it says that there are 5 classes, and names 2"),
        ("nc: 2\nnames: {0: cat, 1: dog, 2: cow}", "it says that there are 2 classes, and names 3"),
        ("names: [{name: cat}, {name: dog}]", "names must be a list of texts"),
    ],
)
def test_names_that_are_not_as_many_as_said_are_refused(tmp_path, text, reason):
    with pytest.raises(ValueError, match=f"data.yaml: not the data.yaml of a YOLO f.*{reason}"):
        configured(tmp_path, f"train: images/train\n{text}\n")


def test_a_split_without_any_file_of_labels_is_told(tmp_path):
    spec = layouts.yolo(tmp_path)
    assert load_data(spec, split="train").notes == ()
    for file in (tmp_path / "labels/train").iterdir():
        file.unlink()
    (note,) = load_data(spec, split="train").notes
    assert note.startswith("train: no image has a file of labels, such as ") and "a.txt" in note


def test_a_number_of_classes_without_names(tmp_path):
    data = configured(tmp_path, "train: images/train\nnames:\nnc: 4\n")
    assert data.class_names == ("class 0", "class 1", "class 2", "class 3")


def test_names_that_yaml_takes_for_values_stay_as_written(tmp_path):
    data = configured(tmp_path, "train: images/train\nval: ~\nnames: [no, 007, null]\n")
    assert data.class_names == ("no", "007", "null") and data.splits == ("train",)


def test_classes_of_one_name_are_one_and_that_is_said(tmp_path):
    data = configured(tmp_path, "train: images/train\nnames: [dog, cat, dog]\n")
    assert data.class_names == ("dog", "cat")
    assert data.notes == ("data.yaml: 'dog' is the name of the classes 0, 2, read as one",)


def test_what_obj_data_does_not_say_is_looked_for_beside_it(tmp_path):
    spec = layouts.yolo_cvat(tmp_path)
    long = "/".join(["x" * 300] * 2) + ".jpg\n"
    (tmp_path / "train.txt").write_text(long + (tmp_path / "train.txt").read_text())
    (tmp_path / "obj.data").write_text("train = train.txt\n")
    data = load_data(spec)
    assert data.class_names == ("cat", "dog") and len(data) == 3
    assert [p.kind for p in data.problems] == ["unreadable annotation file"]


def test_lists_of_classes_that_differ_are_refused(tmp_path):
    """labelImg numbers classes in each folder as they come."""
    for split, names in (("train", "cat\ndog\n"), ("val", "dog\ncat\n")):
        layouts.yolo_labelimg(tmp_path / split)
        (tmp_path / split / "classes.txt").write_text(names)
    with pytest.raises(ValueError, match="train/classes.txt and .*val/classes.txt name different"):
        load_data(str(tmp_path))
    (tmp_path / "val/classes.txt").write_text("cat\ndog\n")
    data = load_data(str(tmp_path), "eval", on_bad_data="error")
    assert data.split == "val" and data.class_names == ("cat", "dog") and len(data) == 3
