import gzip
import io

import layouts
import numpy as np
import pytest
from layouts import NAMES, example, write_records
from PIL import Image

from harmonic_tf.training.data import eval_batches, load_data
from harmonic_tf.training.rle import decode

OBJECT = "image/object/"


def png(mask) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.uint8(mask)).save(content, "PNG")
    return content.getvalue()


def test_flags_areas_and_masks_are_read(tmp_path):
    mask = np.zeros((60, 80), bool)
    mask[15:45, 10:20] = True
    more = {
        f"{OBJECT}difficult": [1],
        f"{OBJECT}is_crowd": [1],
        f"{OBJECT}area": [300.0],
        f"{OBJECT}mask": [png(mask)],
    }
    write_records(tmp_path / "train.tfrecord", [example("a", **more)])
    objects = load_data(f"tfrecord:{tmp_path}", on_bad_data="error").records[0].objects
    assert objects.difficult.all() and objects.crowd.all() and objects.area.tolist() == [300]
    np.testing.assert_array_equal(decode(objects.segmentations[0]), mask)


def test_classes_without_names_go_by_their_numbers(tmp_path):
    write_records(tmp_path / "x.tfrecord", [example(name, text=False) for name in "ab"])
    data = load_data(f"tfrecord:{tmp_path}/x.tfrecord", split="all")
    assert data.class_names == ("class 1", "class 2")
    assert data.records[0].objects.classes.tolist() == [1]


@pytest.mark.parametrize(
    "names, expected",
    [
        ("name: '/m/1' display_name: 'cat'", "cat"),
        ("display_name: \"cat\" name: '/m/1'", "cat"),
        ("name: 'cat' display_name: ''", "cat"),
        ("display_name: ''", "class 1"),
    ],
)
def test_the_names_of_a_label_map(tmp_path, names, expected):
    write_records(tmp_path / "x.tfrecord", [example("b", text=False)])
    (tmp_path / "map.pbtxt").write_text(f"item {{ id: 1 {names} }} item {{ id: 2 name: 'dog' }}")
    data = load_data(f"tfrecord:{tmp_path}/x.tfrecord", split="all", on_bad_data="error")
    assert data.class_names == (expected, "dog")


def test_splits_by_words_of_file_names(tmp_path):
    write_records(tmp_path / "pets_train.record", map(example, "ab"))
    write_records(tmp_path / "pets_val.record", [example("c")])
    assert len(load_data(f"tfrecord:{tmp_path}")) == 2
    data = load_data(f"tfrecord:{tmp_path}", "eval")
    assert (data.split, data.image_names, data.class_names) == ("val", ("c.jpg",), ("cat", "dog"))


def test_files_that_are_missing_of_several_are_told(tmp_path):
    spec = layouts.tfrecord(tmp_path)
    assert load_data(spec, on_bad_data="error").notes == ()
    (tmp_path / "pets_train.record-00001-of-00002").unlink()
    assert load_data(spec).notes == ("pets_train.record: 1 of 2 files are read",)


def test_splits_by_the_names_of_folders(tmp_path):
    """As Roboflow names them; of one folder alone there are none."""
    layouts.tfrecord_roboflow(tmp_path)
    (tmp_path / "val").rename(tmp_path / "valid")
    for spec in (f"tfrecord:{tmp_path}", f"tfrecord:{tmp_path}/*/*.tfrecord"):
        assert (load_data(spec).split, len(load_data(spec))) == ("train", 3)
        data = load_data(spec, "eval")
        assert (data.split, data.image_names, data.class_names) == ("valid", ("b.jpg",), NAMES)
    assert load_data(f"tfrecord:{tmp_path}/train/*.tfrecord", split="all").splits == ("all",)


@pytest.mark.parametrize(
    "change, object_name, kind",
    [
        ({f"{OBJECT}bbox/xmin": [0.9]}, "record 1, object 1", "inverted box"),
        ({f"{OBJECT}bbox/xmin": [0.1, 0.2]}, "record 1", "malformed record"),
        ({f"{OBJECT}bbox/ymax": []}, "record 1", "malformed record"),
        ({"image/encoded": []}, "record 1", "malformed record"),
        ({"image/encoded": [b"text"]}, "record 1", "unreadable image file"),
        ({"image/height": [70]}, "record 1", "size in the annotations is not the image's"),
        ({f"{OBJECT}mask": [b"text"]}, "record 1, object 1", "malformed segmentation"),
        (
            {f"{OBJECT}class/label": [], f"{OBJECT}class/text": []},
            "record 1, object 1",
            "malformed record",
        ),
    ],
)
def test_a_bad_record_is_named_and_the_rest_is_used(tmp_path, change, object_name, kind):
    write_records(tmp_path / "train.tfrecord", [example("a", **change), example("b")])
    data = load_data(f"tfrecord:{tmp_path}", class_names=("cat", "dog"))
    assert len(data.records[-1].objects) == 2
    problem, *more = data.problems
    assert (problem.object, problem.kind) == (object_name, kind)
    assert [p.kind for p in more] == ["no usable object"] * (
        len(data) == 1 and "obj" in object_name
    )


def test_a_file_that_is_cut_gives_the_records_before(tmp_path):
    write_records(tmp_path / "train.tfrecord", map(example, "abc"))
    content = (tmp_path / "train.tfrecord").read_bytes()
    (tmp_path / "train.tfrecord").write_bytes(content[:-9])
    data = load_data(f"tfrecord:{tmp_path}")
    assert data.image_names == ("a.jpg", "b.jpg")
    (problem,) = data.problems
    assert problem.reason.startswith("not a TFRecord file, or not all of it, from byte")


def test_records_from_a_wrong_checksum_on_are_named(tmp_path):
    """TensorFlow's own rule; in float32 one bit of a box makes another box that looks as good."""
    file = tmp_path / "train.tfrecord"
    records = [example(name) for name in "abc"]
    write_records(file, records)
    content = bytearray(file.read_bytes())
    content[content.index(b"bbox/xmax", len(records[0]) + 16) + 20] ^= 1
    file.write_bytes(content)
    data = load_data(f"tfrecord:{tmp_path}")
    assert data.image_names == ("a.jpg",)
    (problem,) = data.problems
    assert problem.file == str(file) and problem.reason == (
        "damaged records: the checksum of record 2 is wrong; it and all behind it in this file "
        "are left out"
    )
    assert len(load_data(f"tfrecord:{tmp_path}", class_names=("dog",)).records[0].objects) == 1


def test_files_that_are_no_records_are_named(tmp_path):
    write_records(tmp_path / "train-1.tfrecord", map(example, "ab"))
    (tmp_path / "train-2.tfrecord").write_bytes(b"only text")
    (tmp_path / "train-3.tfrecord").write_bytes(
        gzip.compress((tmp_path / "train-1.tfrecord").read_bytes())
    )
    write_records(tmp_path / "train-4.tfrecord", [b"\xff\xff no example"])
    data = load_data(f"tfrecord:{tmp_path}")
    assert len(data) == 2
    assert [p.reason.partition(",")[0] for p in data.problems] == [
        "not a TFRecord file",
        "compressed by gzip",
        "malformed record: not a tf.train.Example",
    ]
    with pytest.raises(ValueError, match=r"nowhere\*: there is no such file"):
        load_data(f"tfrecord:{tmp_path}/nowhere*")


def test_images_are_read_when_a_batch_needs_them(tmp_path):
    data = load_data(layouts.tfrecord(tmp_path / "pets"))
    (batch,) = eval_batches(data, (60, 80), batch_size=3)
    assert batch["images"].shape == (3, 60, 80, 3)
    assert (batch["classes"].numpy() >= 0).sum() == 3
