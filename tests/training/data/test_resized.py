import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from folders import picture, write_voc
from PIL import Image

from harmonic_tf.training.data import Augmentation, load_data, train_batches
from harmonic_tf.training.data.resized import resized_data

SIZE = (60, 72)


def quiet(*_):
    pass


def resized(data, resize="stretch", place="memory", size=SIZE):
    return resized_data(data, size, resize, place, quiet)


@pytest.fixture
def voc(tmp_path):
    pictures = {
        "wide": ([("dog", (1, 1, 40, 60)), ("cat", (41, 21, 80, 60), True)], None),
        "empty": ([], None),
        "turned": ([("cat", (11, 1, 60, 40))], None),
    }
    folder = Path(write_voc(tmp_path, pictures, {"train": list(pictures)}))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(seed=2).save(folder / "JPEGImages/turned.jpg", exif=exif)
    return load_data(f"voc:{folder}")


def test_images_and_boxes_have_the_networks_size(voc):
    wide, empty, turned = resized(voc).records
    assert {(r.height, r.width) for r in (wide, empty, turned)} == {SIZE}
    # 80 x 60 px to 72 x 60: x by 0.9; 60 x 80 px, upright: x by 1.2, y by 0.75.
    np.testing.assert_allclose(wide.objects.boxes, [[0, 0, 36, 60], [36, 20, 72, 60]], atol=1e-5)
    np.testing.assert_allclose(turned.objects.boxes, [[12, 0, 72, 30]], atol=1e-5)
    assert len(empty.objects) == 0
    assert wide.objects.difficult.tolist() == [False, True]
    for record in (wide, empty, turned):
        assert Image.open(io.BytesIO(record.read_again())).size == (72, 60)


def test_letterbox_keeps_the_aspect_ratio_and_no_border(voc):
    wide, _, turned = resized(voc, "letterbox").records
    assert (wide.height, wide.width) == (54, 72)
    assert (turned.height, turned.width) == (60, 45)
    np.testing.assert_allclose(wide.objects.boxes[0], [0, 0, 36, 54], atol=1e-5)
    np.testing.assert_allclose(turned.objects.boxes, [[7.5, 0, 45, 30]], atol=1e-5)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_without_augmentation_nothing_changes_but_rounding(voc, resize):
    for place in ("memory", "disk"):
        (images, targets), (kept, same) = (
            next(iter(train_batches(data, SIZE, 3, resize)(0)))
            for data in (voc, resized(voc, resize, place))
        )
        np.testing.assert_allclose(kept, images, atol=0.5)
        np.testing.assert_allclose(same["boxes"], targets["boxes"], atol=1e-4)
        np.testing.assert_array_equal(same["classes"], targets["classes"])


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_augmentation_and_masks_follow(resize):
    """The same draws on images of twice the network's size and on kept ones."""
    data = load_data("shapes:train=8,size=192x160")
    (images, targets), (kept, same) = (
        next(iter(train_batches(*arguments, masks=True)(0)))
        for augmentation in [Augmentation(flip=0.5, window=(0.6, 1.3))]
        for arguments in (
            (data, (80, 80), 8, resize, augmentation),
            (resized(data, resize, size=(80, 80)), (80, 80), 8, resize, augmentation),
        )
    )
    assert np.abs(kept - images).mean() < 8
    there = (targets["classes"] >= 0) & (same["classes"] >= 0)
    assert there.numpy().sum() > 20
    np.testing.assert_allclose(same["boxes"][there], targets["boxes"][there], atol=2)
    assert np.abs(same["masks"][there] - targets["masks"][there]).mean() < 0.03


def test_kept_images_are_found_by_their_content_whatever_their_annotations(voc, own_cache):
    resized(voc, place="disk")
    (folder,) = (own_cache / "harmonic-tf").glob("images-*")
    others = dataclasses.replace(voc, split="other", class_names=("cat", "dog", "cow"))
    resized(others, place="disk")
    assert list((own_cache / "harmonic-tf").glob("images-*")) == [folder]
    resized(voc, "letterbox", "disk")
    resized(voc, place="disk", size=(60, 80))
    resized(dataclasses.replace(voc, records=voc.records[1:]), place="disk")
    assert len(list((own_cache / "harmonic-tf").glob("images-*"))) == 4


def test_an_image_that_broke_is_not_kept(voc, own_cache):
    voc.records[1].encoded.write_bytes(b"gone")
    with pytest.raises(ValueError, match="empty.jpg can no longer be read"):
        resized(voc, place="disk")
    assert not list((own_cache / "harmonic-tf").glob("images-*"))
