import numpy as np
import pytest
from folders import picture, voc_xml, write_voc
from PIL import Image

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
    assert data.image_names[1] == "b.jpg"
    assert data.records[1].objects.boxes.shape == (0, 4)
    assert data.problems == ()


def test_split_by_name_and_missing_split(voc):
    assert load_data(f"voc:{voc}", split="test").image_names == ("c.jpg",)
    message = "expected the split 'val', received 0; name one of the splits there: test, trainval"
    with pytest.raises(ValueError, match=message):
        load_data(f"voc:{voc}", split="val")
    with pytest.raises(ValueError, match="received 0; name one of the splits there: none"):
        load_data(f"voc:{voc}/ImageSets")


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


def test_other_files_than_annotations_are_named(tmp_path):
    good = ([("dog", (1, 1, 10, 10))], None)
    names = ["good", "page", "letter", "half"]
    root = write_voc(tmp_path, dict.fromkeys(names, good), {"train": [*names, f"{tmp_path}/out"]})
    picture().save(tmp_path / "out.jpg")
    (tmp_path / "out.xml").write_text(voc_xml(good[0]))
    (root / "Annotations/page.xml").write_text("<html>Not found</html>")
    for name, encoding, text in (
        ("letter", "unicode_escape", r"\ud800"),
        ("half", "utf-7", "+2AA-"),
    ):
        content = f'<?xml version="1.0" encoding="{encoding}"?><annotation>{text}</annotation>'
        (root / f"Annotations/{name}.xml").write_text(content)
    data = load_data(f"voc:{root}")
    assert data.image_names == ("good.jpg",)
    assert reasons(data) == [
        ("page.xml", None, "malformed XML"),
        ("letter.xml", None, "malformed XML"),
        ("half.xml", None, "malformed XML"),
        ("out.xml", None, "file name leads out of the folder"),
    ]


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


DOG = ([("dog", (1, 1, 10, 10))], None)


def write_xml(root, name, text: str, encoding="utf-8"):
    (root / "Annotations" / f"{name}.xml").write_bytes(text.encode(encoding))


def declared(encoding, label="dog") -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>' + voc_xml([(label, (1, 1, 10, 10))])


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "windows-1252", "utf-16", "UTF-8"])
def test_xml_in_any_encoding_that_python_decodes(tmp_path, encoding):
    label = "café" if encoding == "windows-1252" else "狗"
    root = write_voc(tmp_path, {"a": DOG}, {"train": ["a"]})
    write_xml(root, "a", declared(encoding, label), encoding)
    data = load_data(f"voc:{root}", on_bad_data="error")
    assert data.class_names == (label,)


def test_gbk_under_the_name_of_gb2312(tmp_path):
    root = write_voc(tmp_path, {"a": DOG}, {"train": ["a"]})
    write_xml(root, "a", declared("gb2312", "鎔"), "gbk")
    assert load_data(f"voc:{root}", on_bad_data="error").class_names == ("鎔",)


@pytest.mark.parametrize(
    "content, reason",
    [
        (declared("utf8mb4").encode(), "unknown encoding 'utf8mb4'"),
        (declared("zlib").encode(), "unknown encoding 'zlib'"),
        (declared("utf-8", "狗").encode("gbk"), "not utf-8"),
        (b"<annotation><object>", "no element found|mismatched|unclosed"),
        (b"", "no element found"),
        (b"<html><object><name>cow</name></object></html>", "expected <annotation>.*<html>"),
        (declared("unicode_escape", r"\ud800").encode(), "not unicode_escape.*surrogates"),
        (declared("raw_unicode_escape", r"\ud800").encode(), "not raw_unicode_escape.*surrogates"),
        (declared("utf-7", "+2AA-").encode(), "not utf-7.*surrogate"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "declares entities"),
        (
            b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            "declares entities",
        ),
        ("\ufeff<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>".encode("utf-16"), "declares entities"),
    ],
)
def test_an_xml_that_cannot_be_read_is_named_and_leaves_the_others(tmp_path, content, reason):
    root = write_voc(tmp_path, {"a": DOG, "b": DOG}, {"train": ["a", "b"]})
    (root / "Annotations/a.xml").write_bytes(content)
    data = load_data(f"voc:{root}")
    assert data.image_names == ("b.jpg",) and data.class_names == ("dog",)
    (problem,) = data.problems
    assert problem.file == f"{root}/Annotations/a.xml" and problem.kind == "malformed XML"
    with pytest.raises(BadDataError, match=reason):
        load_data(f"voc:{root}", on_bad_data="error")


def test_an_object_without_a_name_leaves_the_others(tmp_path):
    objects = [("", (1, 1, 9, 9)), ("dog", (1, 1, 10, 10)), ("cat", (1, 1, 10, 10))]
    root = write_voc(tmp_path, {"a": (objects, None)}, {"train": ["a"]})
    data = load_data(f"voc:{root}")
    assert data.class_names == ("cat", "dog")
    assert len(data.records[0].objects) == 2
    assert reasons(data) == [("a.xml", "object 1 (no name)", "malformed XML")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16", "utf-8"])
def test_lists_in_the_encodings_that_tools_write(tmp_path, encoding):
    root = write_voc(tmp_path, {"a": DOG, "café 1": DOG}, {"train": []})
    (root / "ImageSets/Main/train.txt").write_bytes("a\r\ncafé 1\r\n".encode(encoding))
    assert load_data(f"voc:{root}", on_bad_data="error").image_names == ("a.jpg", "café 1.jpg")


def test_ids_with_spaces_and_lists_of_one_class(tmp_path):
    names = ["my photo 1", "my photo", "b"]
    root = write_voc(tmp_path, dict.fromkeys(names, DOG), {"train": names})
    assert len(load_data(f"voc:{root}", on_bad_data="error")) == 3
    (root / "ImageSets/Main/dog_train.txt").write_text("my photo  1\nmy photo 1 -1\nb 0\n")
    data = load_data(f"voc:{root}", split="dog_train", on_bad_data="error")
    assert data.image_names == ("my photo.jpg", "my photo 1.jpg", "b.jpg")


def test_lists_of_file_names(tmp_path):
    root = write_voc(tmp_path, {"a": DOG, "b.png": DOG}, {"train": ["a.JPG", "b.png", "c.bmp"]})
    data = load_data(f"voc:{root}")
    assert data.image_names == ("a.jpg", "b.png.jpg")
    assert reasons(data) == [("c.xml", None, "missing annotation file")]


def test_lists_of_one_class_are_no_splits_to_train_or_evaluate_on(tmp_path):
    """VOC 2007's test set alone has train_test.txt: the images of `test` that show a train."""
    lists = {"test": "abc", "train_test": ["a  1", "b -1", "c  0"]}
    root = write_voc(tmp_path, dict.fromkeys("abc", DOG), lists)
    assert load_data(f"voc:{root}", "eval").split == "test"
    with pytest.raises(ValueError, match="expected one split to train on, received 0"):
        load_data(f"voc:{root}")
    (root / "ImageSets/Main/test.txt").rename(root / "ImageSets/Main/default.txt")
    (root / "ImageSets/Main/train_test.txt").rename(root / "ImageSets/Main/train_default.txt")
    assert load_data(f"voc:{root}", split="all").split == "default"
    parts = [load_data(f"voc:{root}", role).image_names for role in ("train", "eval")]
    assert sorted(parts[0] + parts[1]) == ["a.jpg", "b.jpg", "c.jpg"] and all(parts)


def test_a_split_named_like_a_class_and_a_split_is_one(tmp_path):
    lists = {"train": "ab", "small_train": "a", "dog_train": ["a 1", "b -1"]}
    root = write_voc(tmp_path, dict.fromkeys("ab", DOG), lists)
    assert load_data(f"voc:{root}", split="train").splits == ("small_train", "train")


def test_images_in_sub_folders_keep_their_classes_and_names(tmp_path):
    for folder in ("JPEGImages/x", "JPEGImages/y", "Annotations/x", "Annotations/y"):
        (tmp_path / folder).mkdir(parents=True)
    root = write_voc(tmp_path, {"x/a": DOG, "y/a": DOG}, {"train": ["x/a", "y/a"]})
    data = load_data(f"voc:{root}", on_bad_data="error")
    assert data.image_names == ("x/a.jpg", "y/a.jpg")
    assert data.class_names == ("dog",)


@pytest.mark.parametrize("suffix", [".Jpg", ".JPEG", ".bmp", ".GIF", ".webp", ".tif", ".Png"])
def test_images_of_every_kind_and_case(tmp_path, suffix):
    root = write_voc(tmp_path, {"a.b": DOG}, {"train": ["a.b"]})
    (root / "JPEGImages/a.b.jpg").unlink()
    kind = Image.registered_extensions()[suffix.lower()]
    picture().save(root / f"JPEGImages/a.b{suffix}", kind)
    assert load_data(f"voc:{root}", on_bad_data="error").image_names == (f"a.b{suffix}",)


def test_the_home_folder_may_be_written_with_a_tilde(tmp_path, monkeypatch):
    write_voc(tmp_path / "pets", {"a": DOG}, {"train": ["a"]})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_data("voc:~/pets", on_bad_data="error").name == "pets"


def test_ids_that_lead_out_of_the_folder_are_refused(tmp_path):
    root = write_voc(tmp_path / "pets", {"a": DOG}, {"train": ["a", "../../a"]})
    (tmp_path / "a.xml").write_text(voc_xml(DOG[0]))
    picture().save(tmp_path / "a.jpg")
    data = load_data(f"voc:{root}")
    assert data.image_names == ("a.jpg",)
    assert [p.kind for p in data.problems] == ["file name leads out of the folder"]


def test_an_absolute_id_is_used_in_the_folder_of_images_only(tmp_path):
    root = write_voc(tmp_path / "pets", {"a": DOG}, {"train": ["a", f"{tmp_path}/pets/extra/b"]})
    (root / "extra").mkdir()
    (root / "extra/b.xml").write_text(voc_xml(DOG[0]))
    picture().save(root / "extra/b.jpg")
    data = load_data(f"voc:{root}")
    assert data.image_names == ("a.jpg",)
    (problem,) = data.problems
    assert problem.file.endswith("extra/b.xml") and "images lie in JPEGImages" in problem.reason


def turned(root, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().transpose(Image.Transpose.ROTATE_90).save(root / f"JPEGImages/{name}.jpg", exif=exif)


def test_boxes_are_those_of_the_upright_image(tmp_path):
    objects = [("dog", (61, 51, 80, 60))]
    names = {"upright": (80, 60), "none": None, "stored": (60, 80), "text": (0, 0)}
    root = write_voc(tmp_path, {n: (objects, s) for n, s in names.items()}, {"train": list(names)})
    for name in names:
        turned(root, name, 6)
    data = load_data(f"voc:{root}")
    assert data.image_names == ("upright.jpg", "none.jpg", "text.jpg")
    for record in data.records:
        assert (record.height, record.width, record.orientation) == (60, 80, 6)
        np.testing.assert_array_equal(record.objects.boxes, [[60, 50, 80, 60]])
    (problem,) = data.problems
    assert problem.reason == (
        "size in the annotations is that of the pixels before they are turned: 60 x 80 px; by its "
        "EXIF orientation 6 the image is shown with 80 x 60 px"
    )


def test_one_bad_image_of_each_kind_leaves_the_others(tmp_path):
    root = write_voc(tmp_path, dict.fromkeys("abc", DOG), {"train": list("abc")})
    (root / "JPEGImages/a.jpg").write_bytes(b"")
    (root / "JPEGImages/b.jpg").unlink()
    (root / "JPEGImages/b.jpg").mkdir()
    data = load_data(f"voc:{root}")
    assert data.image_names == ("c.jpg",)
    assert [p.kind for p in data.problems] == ["unreadable image file", "missing image file"]
