import numpy as np
import pytest
from folders import picture, voc_xml, write_voc

from harmonic_tf.training.data import BadDataError, load_data


@pytest.fixture
def voc(tmp_path):
    images = {
        "a": ([("dog", (1, 1, 80, 60)), ("cat", (11, 21, 30, 40), True)], (80, 60)),
        "b": ([], None),
        "c": ([("bird", (5, 5, 10, 10))], (0, 0)),
    }
    return write_voc(tmp_path / "pets", images, {"trainval": ["a", "b"], "test": ["c"]})


def test_pixels_are_one_based_and_inclusive(voc):
    data = load_data(f"voc:{voc}")
    objects = data.records[0].objects
    np.testing.assert_array_equal(objects.boxes, [[0, 0, 80, 60], [10, 20, 30, 40]])
    np.testing.assert_array_equal(objects.area, [4800, 400])
    np.testing.assert_array_equal(objects.difficult, [False, True])
    assert not objects.crowd.any()


def test_every_split_has_all_class_names_in_order(voc):
    train, test = load_data(f"voc:{voc}"), load_data(f"voc:{voc}", role="eval")
    assert train.class_names == test.class_names == ("bird", "cat", "dog")
    assert train.category_ids == (1, 2, 3)
    assert (train.split, test.split) == ("trainval", "test")
    np.testing.assert_array_equal(train.records[0].objects.classes, [2, 1])


def test_images_without_objects_stay(voc):
    data = load_data(f"voc:{voc}")
    assert len(data) == 2
    assert data.image_names == ("a.jpg", "b.jpg")
    assert data.image_name(1) == "b.jpg"
    assert data.records[1].objects.boxes.shape == (0, 4)
    assert data.problems == ()


def test_split_by_name_and_missing_split(voc):
    assert load_data(f"voc:{voc}", split="test").image_names == ("c.jpg",)
    with pytest.raises(ValueError, match="splits found there: test, trainval"):
        load_data(f"voc:{voc}", split="val")
    with pytest.raises(ValueError, match="splits found there: none"):
        load_data(f"voc:{voc}/nowhere")


def test_given_class_names(voc):
    data = load_data(f"voc:{voc}", class_names=["dog", "bird"])
    assert data.class_names == ("dog", "bird")
    assert [str(p) for p in data.problems] == [
        f"{voc}/Annotations/a.xml, object 2 (cat): unknown class: 'cat'"
    ]


def reasons(data):
    return [(p.file.rsplit("/", 1)[-1], p.object, p.kind) for p in data.problems]


@pytest.mark.parametrize(
    "box, kind",
    [
        ((10, 10, 10, 30), "box of zero area"),
        ((30, 10, 10, 30), "inverted box"),
        ((81, 10, 90, 30), "box outside the image"),
        (("nan", 10, 20, 30), "box is not finite"),
        (("left", 10, 20, 30), "malformed XML"),
    ],
)
def test_bad_boxes_are_left_out_and_named(tmp_path, box, kind):
    objects = [("dog", (1, 1, 10, 10)), ("dog", box)]
    root = write_voc(tmp_path, {"a": (objects, None)}, {"train": ["a"]})
    data = load_data(f"voc:{root}")
    assert len(data.records[0].objects) == 1
    assert reasons(data) == [("a.xml", "object 2 (dog)", kind)]
    with pytest.raises(BadDataError, match=kind) as error:
        load_data(f"voc:{root}", on_bad_data="error")
    assert error.value.problems == data.problems


def test_boxes_beyond_the_border_are_cut_and_counted(tmp_path):
    objects = [("dog", (0, 1, 20, 60)), ("dog", (71, 51, 100, 90))]
    root = write_voc(tmp_path, {"a": (objects, None)}, {"train": ["a"]})
    data = load_data(f"voc:{root}", on_bad_data="error")
    np.testing.assert_array_equal(data.records[0].objects.boxes[1], [70, 50, 80, 60])
    np.testing.assert_array_equal(data.records[0].objects.boxes[0], [0, 0, 20, 60])
    assert data.clipped == 1  # one pixel beyond the border, as in the first box, is no matter


def test_bad_images_are_left_out_and_named(tmp_path):
    good = ([("dog", (1, 1, 10, 10))], None)
    names = ["good", "no_xml", "bad_xml", "no_file", "no_end", "no_image", "scaled", "good"]
    root = write_voc(tmp_path, dict.fromkeys(names, good), {"train": names})
    (root / "Annotations/no_xml.xml").unlink()
    (root / "Annotations/bad_xml.xml").write_text("<annotation><object>")
    (root / "JPEGImages/no_file.jpg").unlink()
    whole = (root / "JPEGImages/no_end.jpg").read_bytes()
    (root / "JPEGImages/no_end.jpg").write_bytes(whole[: len(whole) - 100])
    (root / "JPEGImages/no_image.jpg").write_text("not an image at all, only text")
    (root / "Annotations/scaled.xml").write_text(voc_xml(good[0], (160, 120)))
    data = load_data(f"voc:{root}")
    assert data.image_names == ("good.jpg",)
    assert reasons(data) == [
        ("train.txt", None, "id listed twice"),
        ("no_xml.xml", None, "missing annotation file"),
        ("bad_xml.xml", None, "malformed XML"),
        ("no_file.jpg", None, "missing image file"),
        ("no_end.jpg", None, "truncated image file"),
        ("no_image.jpg", None, "unreadable image file"),
        ("scaled.xml", None, "size in the annotations is not the image's"),
    ]
    assert data.problem_counts()["missing image file"] == 1


def test_nothing_usable_is_an_error(tmp_path):
    root = write_voc(tmp_path, {"a": ([], None)}, {"train": ["a"], "val": []})
    (root / "JPEGImages/a.jpg").unlink()
    with pytest.raises(BadDataError, match="missing image file"):
        load_data(f"voc:{root}")
    with pytest.raises(ValueError, match="holds no images"):
        load_data(f"voc:{root}", role="eval")


def test_png_images(tmp_path):
    root = write_voc(tmp_path, {"a": ([("dog", (1, 1, 10, 10))], None)}, {"train": ["a"]})
    (root / "JPEGImages/a.jpg").unlink()
    picture().save(root / "JPEGImages/a.png")
    record = load_data(f"voc:{root}").records[0]
    assert (record.name, record.is_jpeg) == ("a.png", False)
