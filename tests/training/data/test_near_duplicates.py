import dataclasses
import io

import pytest
from folders import picture
from PIL import Image

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.near_duplicates import near_duplicates


def photos(folder, images: dict, split):
    (folder / split / "images").mkdir(parents=True)
    (folder / split / "labels").mkdir()
    for name, content in images.items():
        (folder / split / "images" / name).write_bytes(content)
    return load_data(f"yolo:{folder}", split=split, class_names=("dog",))


def encoded(seed, size=(320, 240), kind="JPEG", **options):
    content = io.BytesIO()
    picture(*size[::-1], seed=seed).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    "again",
    [
        encoded(3),
        encoded(3, quality=30),
        encoded(3, size=(160, 120)),
        encoded(3, kind="PNG"),
        encoded(3, kind="WEBP"),
    ],
    ids=["equal", "quality", "scaled", "PNG", "WebP"],
)
def test_an_image_that_was_saved_again_is_found(tmp_path, again):
    train = photos(tmp_path, {f"{seed}.jpg": encoded(seed) for seed in range(8)}, "train")
    others = {f"{seed}.jpg": encoded(seed) for seed in (20, 21)}
    val = photos(tmp_path, {**others, "again": again, "again.jpg": again}, "val")
    ((evaluated, trained),) = near_duplicates(train, val)
    assert (evaluated.name, trained.name) == ("again.jpg", "3.jpg")


def test_different_images_are_not_alike():
    train, val = load_data("shapes:train=60"), load_data("shapes:val=60", "eval")
    assert near_duplicates(train, val) == []


def test_flat_images_are_alike_only_in_the_same_shade(tmp_path):
    def flat(shade):
        content = io.BytesIO()
        Image.new("L", (60, 60), shade).save(content, "PNG")
        return content.getvalue()

    train = photos(tmp_path, {"grey.png": flat(100)}, "train")
    val = photos(tmp_path, {"same.png": flat(101), "bright.png": flat(200)}, "val")
    assert [pair.evaluated.name for pair in near_duplicates(train, val)] == ["same.png"]


def test_images_that_cannot_be_read_and_empty_data_have_none():
    data = load_data("shapes:train=3")
    broken = [dataclasses.replace(r, encoded=lambda: b"") for r in data.records]
    assert near_duplicates(data, dataclasses.replace(data, records=tuple(broken))) == []
    assert near_duplicates(data, dataclasses.replace(data, records=())) == []
