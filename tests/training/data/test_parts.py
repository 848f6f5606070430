import dataclasses
import subprocess
import sys

import layouts
import pytest
from folders import picture

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.formats.roles import PURPOSES
from harmonic_tf.training.data.parts import part


def photos(folder, count, first=0):
    """A YOLO folder without splits."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    for seed in range(first, first + count):
        picture(seed=seed).save(folder / f"images/{seed:03d}.jpg")
    return f"yolo:{folder}"


def names(spec, role, **more):
    return set(load_data(spec, role, class_names=("dog",), **more).image_names)


def test_the_parts_are_all_there_is_and_have_nothing_in_common(tmp_path):
    spec = photos(tmp_path, 40)
    train, val = names(spec, "train"), names(spec, "eval")
    assert train | val == names(spec, "train", split="all") and not train & val
    assert 3 <= len(val) <= 14  # 8 expected: within 2.4 standard deviations
    half = names(spec, "eval", val_fraction=0.5)
    assert val < half and 12 <= len(half) <= 28
    assert names(spec, "eval", val_seed=1) != val


def test_more_images_move_none(tmp_path):
    spec = photos(tmp_path, 30)
    train, val = names(spec, "train"), names(spec, "eval")
    photos(tmp_path, 15, first=30)
    assert train < names(spec, "train") and val <= names(spec, "eval")


def test_equal_images_are_on_one_side_whatever_they_are_called(tmp_path):
    spec = photos(tmp_path, 12)
    for file in sorted((tmp_path / "images").iterdir()):
        (tmp_path / f"images/copy_of_{file.name}").write_bytes(file.read_bytes())
    for role in ("train", "eval"):
        side = names(spec, role)
        assert side and {f"copy_of_{n}" for n in side if "copy" not in n} <= side


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_no_part_is_empty(tmp_path, fraction):
    spec = photos(tmp_path, 2)
    for role in ("train", "eval"):
        assert len(names(spec, role, val_fraction=fraction)) == 1


def test_every_process_takes_the_same(tmp_path):
    spec = photos(tmp_path, 20)
    code = (
        "from harmonic_tf.training.data import load_data; "
        f"print(sorted(load_data({spec!r}, 'eval', class_names=('dog',)).image_names))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert other.strip() == str(sorted(names(spec, "eval")))


def test_one_image_cannot_be_parted(tmp_path):
    spec = photos(tmp_path, 1)
    with pytest.raises(ValueError, match="it takes two different images; it has 1"):
        names(spec, "train")
    for fraction in (0, 1, -0.1, float("nan"), "0.2"):
        with pytest.raises(ValueError, match=f"between 0 and 1, received {fraction!r}"):
            names(spec, "train", val_fraction=fraction)


def test_a_training_split_alone_is_parted_only_if_that_is_asked_for(tmp_path):
    spec = layouts.voc(tmp_path)
    assert len(load_data(spec)) == 3
    with pytest.raises(ValueError, match="or hold some out by --val-fraction"):
        load_data(spec, "eval")
    parts = [load_data(spec, role, val_fraction=0.4) for role in ("train", "eval")]
    assert sum(map(len, parts)) == 3 and all(map(len, parts))
    assert [p.split for p in parts] == ["train, to train on", "train, to evaluate on"]
    (tmp_path / "ImageSets/Main/val.txt").write_text("c\n")
    with pytest.raises(ValueError, match="the splits train, val: name the splits to use instead"):
        load_data(spec, "eval", val_fraction=0.4)


def test_what_was_decided_is_said(tmp_path):
    spec = photos(tmp_path, 3)
    how = "no split for each role: 'all' is parted by its images' content, seed 0: "
    for role in ("train", "eval"):
        data = load_data(spec, role, class_names=("dog",))
        share = {1: "1 of 3 images (33 %)", 2: "2 of 3 images (67 %)"}[len(data)]
        assert data.notes[-1] == f"{how}{share} to {PURPOSES[role]}"


@pytest.mark.parametrize(
    ("write", "path"),
    [
        (layouts.csv_headings, "train.csv"),
        (layouts.coco, "annotations/instances_train2017.json"),
        (layouts.coco_roboflow, "train"),
        (layouts.coco_roboflow, "train/_annotations.coco.json"),
        (layouts.voc_roboflow, "train"),
        (layouts.tfrecord_label_map, "train.tfrecord"),
    ],
)
def test_a_path_to_one_split_has_no_splits_whatever_it_is_called(tmp_path, write, path):
    write(tmp_path)
    spec = str(tmp_path / path)
    train, val = load_data(spec), load_data(spec, "eval")
    assert train.splits == ("all",) and len(train) + len(val) == 3 and len(val) in (1, 2)
    assert len(load_data(spec, split="all")) == 3


def test_all_is_the_only_split_of_a_source_without_roles(tmp_path):
    spec = layouts.coco_cvat(tmp_path)
    assert load_data(spec).splits == ("default",)
    data = load_data(spec, split="all")
    assert data.split == "default" and len(data) == 3
    with pytest.raises(ValueError, match="expected the split 'all', received 0; .* there: train"):
        load_data(layouts.voc(tmp_path / "voc"), split="all")


def test_images_without_a_digest_go_by_their_names():
    data = load_data("shapes:train=20")
    assert not data.records[0].digest
    first = part(data, "eval")
    renamed = [dataclasses.replace(r, image_id=-1) for r in data.records]
    again = part(dataclasses.replace(data, records=tuple(renamed)), "eval")
    assert first.image_names == again.image_names and 0 < len(first) < 20
