import io

from folders import picture, write_voc
from rich.console import Console

from harmonic_tf.training.data import load_data, print_summary
from harmonic_tf.training.data.summary import print_common


def printed(data):
    console = Console(file=io.StringIO(), width=200)
    print_summary(data, console)
    return " ".join(console.file.getvalue().split())


def test_what_a_person_wants_to_know(tmp_path):
    images = {
        "a": (
            [("dog", (1, 1, 20, 20)), ("dog", (1, 1, 40, 60), True), ("cat", (5, 5, 5, 5))],
            None,
        ),
        "b": ([], None),
    }
    root = write_voc(tmp_path / "pets", images, {"train": ["a", "b"]})
    text = printed(load_data(f"voc:{root}"))
    for part in (
        "pets, train",
        "images │ 2, 1 of them without objects",
        "objects │ 2 of 2 classes",
        "objects an image │ 0 / 0 / 1 / 2 / 2",
        "object sizes │ 1 small (50 %), 1 medium (50 %), 0 large (0 %)",
        "masks │ 0 of 2 objects",
        "difficult, crowd │ 1, 0",
        "│ cat │ 0 │ 0.0 % │ 0 │ - │ - │",
        "│ dog │ 2 │ 100.0 % │ 1 │ 30 px │ 40 px │",
        "box of zero area (1)",
        "a.xml, object 3 (cat)",
    ):
        assert part in text


def test_data_without_objects(tmp_path):
    root = write_voc(tmp_path, {"a": ([], None)}, {"train": ["a"]})
    text = printed(load_data(f"voc:{root}", class_names=["dog"]))
    assert "box width │ - px" in text


def test_masks_are_counted():
    data = load_data("shapes:train=1")
    count = len(data.records[0].objects)
    text = printed(data)
    assert f"masks │ {count} of {count} objects" in text
    assert "problems │ 0" in text and "Left out" not in text


def test_objects_that_vanish_are_counted_with_the_input_that_keeps_them(tmp_path):
    objects = ([("dog", (1, 1, 12, 12)), ("dog", (1, 1, 900, 900))], None)
    root = write_voc(tmp_path, {"a": objects}, {"train": ["a"]})
    picture(3000, 4000).save(root / "JPEGImages/a.jpg")
    text = printed(load_data(f"voc:{root}"))
    assert (
        "1 in an input of 160 x 208, 1 in an input of 300 x 300; all are kept by 250 x 334" in text
    )
    assert "below a pixel │ 0" in printed(load_data("shapes:train=1"))


def test_sizes_places_and_shapes(tmp_path):
    objects = ([("dog", (1, 1, 40, 15)), ("dog", (41, 31, 80, 45))], None)
    root = write_voc(tmp_path, {"a": objects}, {"train": ["a"]})
    text = printed(load_data(f"voc:{root}"))
    for part in (
        "box width : height │ 2.67 / 2.67 / 2.67 / 2.67 / 2.67",
        # 40 x 15 of 80 x 60 px in 160 x 208: 104 x 40 px.
        "160 x 208 │ 64 / 64 / 64 / 64 / 64 px",
        "top │ 50 % │ 0 % │ 0 %",
        "centre │ 0 % │ 0 % │ 50 %",
    ):
        assert part in text


def test_what_splits_have_in_common(tmp_path):
    root = write_voc(
        tmp_path, dict.fromkeys("abc", ([], None)), {"train": ["a"], "val": list("bc")}
    )
    with_a = (root / "JPEGImages/a.jpg").read_bytes()
    (root / "JPEGImages/b.jpg").write_bytes(with_a)
    picture(seed=0).save(root / "JPEGImages/c.jpg", quality=40)
    console = Console(file=io.StringIO(), width=200)
    splits = [load_data(f"voc:{root}", role, class_names=["dog"]) for role in ("train", "eval")]
    print_common(*splits, console)
    text = console.file.getvalue()
    assert "1 of 2 images are in both splits: 0 by file, 1 more by content" in text
    assert "1 more look like one to train on\n  c.jpg looks like a.jpg" in text


def test_what_was_decided_is_said(tmp_path):
    root = write_voc(tmp_path, {"a": ([], None)}, {"train": ["a"]})
    text = printed(load_data(str(root), class_names=["dog"]))
    assert text.startswith(f"{root} is read as voc ")
