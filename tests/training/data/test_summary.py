import io

from folders import picture, write_voc
from rich.console import Console

from harmonic_tf.training.data import load_data, print_summary


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
