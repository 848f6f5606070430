import dataclasses
import io
import os

import numpy as np
import pytest
import tensorflow as tf
from folders import mixed, picture, write_coco, write_voc

from harmonic_tf.training.data import (
    Augmentation,
    DetectionData,
    Objects,
    Sample,
    eval_batches,
    load_data,
    network_boxes,
    train_batches,
)
from harmonic_tf.training.data.dataset import Annotation
from harmonic_tf.training.data.segmentation import MASK_SIZE
from harmonic_tf.training.data.small import small_objects
from harmonic_tf.training.rle import runs

SHAPES = "shapes:train=12,val=5"
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])


@pytest.fixture
def voc(tmp_path):
    pictures = {
        "a": ([("dog", (1, 1, 80, 60)), ("cat", (11, 21, 30, 40), True)], None),
        "b": ([], None),
        "c": ([("cat", (5, 5, 10, 10))], None),
    }
    return load_data(f"voc:{write_voc(tmp_path, pictures, {'train': list(pictures)})}")


def rectangles(count=24) -> DetectionData:
    """Grey images with up to three rectangles, coloured by class, that do not overlap."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(count):
        picture = np.full((120, 150, 3), 110, np.uint8)
        annotations = []
        for kind in rng.permutation(3):
            x1, x2 = 5 + 50 * kind, 5 + 50 * kind + rng.integers(12, 38)
            y1 = rng.integers(5, 60)
            y2 = y1 + rng.integers(12, 50)
            picture[y1:y2, x1:x2] = COLOURS[kind]
            annotations.append(Annotation((x1, y1, x2, y2), int(kind)))
        encoded = tf.io.encode_png(picture).numpy()
        objects = Objects.of(annotations)
        records.append(Sample(f"{index}.png", index, 120, 150, False, lambda e=encoded: e, objects))
    return DetectionData("rectangles", "all", ("r", "g", "b"), (1, 2, 3), tuple(records))


def triangles(count=12) -> DetectionData:
    """Grey images with three right-angled triangles, coloured by class, that do not overlap."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(count):
        picture = np.full((160, 240, 3), 110, np.uint8)
        annotations = []
        for kind in rng.permutation(3):
            x1, y1 = 5 + 80 * kind, int(rng.integers(5, 60))
            x2, y2 = x1 + int(rng.integers(40, 70)), y1 + int(rng.integers(40, 95))
            rows, columns = np.indices((160, 240)) + 0.5
            inside = (columns > x1) & (rows > y1)
            inside &= (columns - x1) / (x2 - x1) + (rows - y1) / (y2 - y1) < 1
            picture[inside] = COLOURS[kind]
            if kind == 0:
                segmentation = [[x1, y1, x2, y1, x1, y2]]
            else:
                segmentation = runs(inside)
            box = (x1, y1, x2, y2)
            annotations.append(Annotation(box, int(kind), segmentation=segmentation))
        encoded = tf.io.encode_png(picture).numpy()
        objects = Objects.of(annotations)
        records.append(Sample(f"{index}.png", index, 160, 240, False, lambda e=encoded: e, objects))
    return DetectionData("triangles", "all", ("r", "g", "b"), (1, 2, 3), tuple(records))


def pasted(mask, box, shape):
    """Which pixels of an image, by their centres, are on a mask; outside of the box none."""
    size = len(mask)
    on = []
    for low, high, length in ((box[1], box[3], shape[0]), (box[0], box[2], shape[1])):
        cells = np.floor((np.arange(length) + 0.5 - low) / (high - low) * size).astype(int)
        on.append(np.where((cells >= 0) & (cells < size), cells, size))
    return np.pad(mask, (0, 1))[np.ix_(*on)] >= 0.5


def images_of(epoch):
    return np.concatenate([images for images, _ in epoch.as_numpy_iterator()])


def test_training_batches():
    epochs = train_batches(load_data(SHAPES), (80, 96), batch_size=5)
    assert epochs.steps_per_epoch == 2
    batches = list(epochs(0))
    assert len(batches) == 2
    for images, targets in batches:
        assert images.shape == (5, 80, 96, 3) and images.dtype == tf.float32
        assert targets["boxes"].dtype == targets["classes"].dtype == tf.float32
        classes = targets["classes"].numpy()
        assert targets["boxes"].shape == (*classes.shape, 4)
        # Objects first, then padding.
        assert (np.diff((classes >= 0).astype(int), axis=1) <= 0).all()
        assert (targets["boxes"].numpy()[classes < 0] == -1).all()
    assert epochs(0).element_spec[0].shape == (5, 80, 96, 3)


def test_without_augmentation_pixels_and_boxes_are_the_images():
    data = load_data(SHAPES)
    images, targets = next(iter(train_batches(data, (160, 208), batch_size=12)(0)))
    found = {r.objects.boxes.tobytes(): r for r in data.records}
    for image, boxes, classes in zip(images, targets["boxes"], targets["classes"], strict=True):
        kept = boxes.numpy()[classes.numpy() >= 0]
        record = found.pop(kept.tobytes())
        np.testing.assert_array_equal(image, tf.io.decode_image(record.stored()))
        np.testing.assert_array_equal(classes[: len(kept)], record.objects.classes)
    assert not found


@pytest.mark.parametrize("preset", ["light", "ssd"])
def test_the_same_seed_and_epoch_give_the_same_batches(preset):
    augmentation = getattr(Augmentation, preset)()

    def epoch(number, seed=3):
        batches = train_batches(
            load_data(SHAPES), (40, 52), batch_size=4, augmentation=augmentation, seed=seed
        )
        return batches(number)

    first, again = list(epoch(1)), list(epoch(1))
    for (images, targets), (same_images, same_targets) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(targets["boxes"], same_targets["boxes"])
    assert (images_of(epoch(2)) != images_of(epoch(1))).any()
    assert (images_of(epoch(1, seed=4)) != images_of(epoch(1))).any()


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(flip=0.5),
        Augmentation(window=(0.5, 1.6)),
        Augmentation(expand=3.0),
        Augmentation(min_iou_crop=True),
        Augmentation(flip=0.5, window=(0.7, 1.15), expand=2.0, min_iou_crop=True),
    ],
)
def test_boxes_bound_the_pixels_after_augmentation(augmentation, resize):
    """Every coloured rectangle is looked for in the batch, and met where its box says."""
    epochs = train_batches(
        rectangles(), (100, 110), 24, resize=resize, augmentation=augmentation, seed=5
    )
    images, targets = next(iter(epochs(0)))
    checked = 0
    for image, boxes, classes in zip(
        images.numpy(), targets["boxes"].numpy(), targets["classes"].numpy(), strict=True
    ):
        for box, kind in zip(boxes[classes >= 0], classes[classes >= 0].astype(int), strict=True):
            rest = [c for c in range(3) if c != kind]
            colour = (image[..., kind] > 182) & (image[..., rest].max(-1) < 56)
            rows, columns = np.nonzero(colour)
            if min(box[2] - box[0], box[3] - box[1]) < 4:
                continue
            seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_allclose(box, seen, atol=1.5)
            checked += 1
    assert checked >= 20


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(flip=1.0),
        Augmentation(window=(0.6, 0.6)),
        Augmentation(expand=2.0),
        Augmentation(flip=0.5, window=(0.7, 1.15), expand=1.5, min_iou_crop=True),
    ],
)
def test_masks_cover_the_pixels_after_augmentation(augmentation, resize):
    """Every coloured triangle is looked for in the batch, and met where its mask says."""
    epochs = train_batches(
        triangles(), (160, 200), 12, resize=resize, augmentation=augmentation, seed=5, masks=True
    )
    images, targets = next(iter(epochs(0)))
    assert targets["masks"].shape == (12, 3, MASK_SIZE, MASK_SIZE)
    assert targets["masks"].dtype == tf.float32
    checked = 0
    for image, boxes, classes, masks in zip(
        images.numpy(), *(targets[k].numpy() for k in ("boxes", "classes", "masks")), strict=True
    ):
        for box, kind, mask in zip(boxes, classes.astype(int), masks, strict=True):
            if kind < 0:
                assert not mask.any()
                continue
            if min(box[2:] - box[:2]) < 20:
                continue
            rest = [c for c in range(3) if c != kind]
            colour = (image[..., kind] > 182) & (image[..., rest].max(-1) < 56)
            found = pasted(mask, box, image.shape)
            assert (found & colour).sum() / (found | colour).sum() > 0.9
            checked += 1
    assert checked >= 10


def test_masks_change_nothing_else_and_depend_on_the_seed_alone():
    augmentation = Augmentation.light()
    data = load_data(SHAPES)

    def epoch(**settings):
        return list(train_batches(data, (40, 52), 4, augmentation=augmentation, **settings)(1))

    with_masks, again, without = epoch(masks=True), epoch(masks=True), epoch()
    assert "masks" not in without[0][1]
    for (images, targets), (_, same), (plain, boxes) in zip(
        with_masks, again, without, strict=True
    ):
        np.testing.assert_array_equal(images, plain)
        np.testing.assert_array_equal(targets["boxes"], boxes["boxes"])
        np.testing.assert_array_equal(targets["masks"], same["masks"])
        masks = targets["masks"].numpy()
        assert masks.min() == 0 and masks.max() == 1
        np.testing.assert_array_equal(masks.any((2, 3)), targets["classes"] >= 0)


def test_masks_go_with_their_objects_past_crowds(tmp_path):
    box, half = [10, 10, 20, 20], [10, 10, 30, 10, 30, 20, 10, 20]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 1},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [half]},
    ]
    images = [{"id": 1, "file_name": "x.jpg"}]
    root = write_coco(tmp_path, images, annotations, [{"id": 1, "name": "dog"}])
    data = load_data(f"coco:{root}")
    _, targets = next(iter(train_batches(data, (60, 80), 1, max_boxes=3, masks=True)(0)))
    masks = targets["masks"].numpy()[0]
    # The upper half; a polygon's edge may count as inside, by a quarter of a cell.
    np.testing.assert_array_equal(masks[0, :28], 1)
    np.testing.assert_array_equal(masks[0, 29:], 0)
    assert not masks[1:].any()


def test_data_without_masks_is_named(voc):
    with pytest.raises(
        ValueError, match=r"\(train\) has no mask for any object; Mask R-CNN learns from masks"
    ):
        train_batches(voc, (60, 80), 3, masks=True)


def test_colours_change_but_not_boxes():
    data = load_data(SHAPES)
    augmentation = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, hue=90.0)
    plain = next(iter(train_batches(data, (40, 52), 4)(0)))
    varied = next(iter(train_batches(data, (40, 52), 4, augmentation=augmentation)(0)))
    np.testing.assert_array_equal(plain[1]["boxes"], varied[1]["boxes"])
    assert np.abs(plain[0] - varied[0]).mean() > 5
    assert np.min(varied[0]) >= 0 and np.max(varied[0]) <= 255


def test_crowds_are_not_trained_on_and_difficult_objects_are(tmp_path, voc):
    box = [10, 10, 20, 20]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 1},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0},
    ]
    images = [{"id": 1, "file_name": "x.jpg"}]
    root = write_coco(tmp_path / "coco", images, annotations, [{"id": 1, "name": "dog"}])
    _, targets = next(iter(train_batches(load_data(f"coco:{root}"), (60, 80), 1)(0)))
    np.testing.assert_array_equal(targets["boxes"], [[[10, 10, 30, 30]]])
    _, targets = next(iter(train_batches(voc, (60, 80), 3)(0)))
    assert sorted((targets["classes"].numpy() >= 0).sum(1)) == [0, 1, 2]


def test_room_for_boxes():
    data = load_data(SHAPES)
    fullest = max(len(record.objects) for record in data.records)
    _, targets = next(iter(train_batches(data, (40, 52), 4)(0)))
    assert targets["classes"].shape == (4, fullest)
    _, targets = next(iter(train_batches(data, (40, 52), 4, max_boxes=100)(0)))
    assert targets["boxes"].shape == (4, 100, 4)
    with pytest.raises(ValueError, match="more than max_boxes=1"):
        train_batches(data, (40, 52), 4, max_boxes=1)


def test_data_without_any_object():
    records = tuple(
        dataclasses.replace(r, objects=Objects.of([])) for r in load_data(SHAPES).records
    )
    data = DetectionData("empty", "all", ("a",), (1,), records)
    epoch = train_batches(data, (40, 52), 4, augmentation=Augmentation.ssd(), masks=True)(0)
    for images, targets in epoch:
        assert np.isfinite(images).all()
        np.testing.assert_array_equal(targets["classes"], -np.ones((4, 1)))
        np.testing.assert_array_equal(targets["masks"], np.zeros((4, 1, MASK_SIZE, MASK_SIZE)))
    batch = next(iter(eval_batches(data, (40, 52))))
    assert (network_boxes(batch)["classes"].numpy() == -1).all()


def test_wrong_arguments():
    data = load_data(SHAPES)
    with pytest.raises(ValueError, match="do not fill a batch of 16"):
        train_batches(data, (40, 52))
    with pytest.raises(ValueError, match="resize must be one of"):
        train_batches(data, (40, 52), 4, resize="crop")
    with pytest.raises(ValueError, match="resize must be one of"):
        eval_batches(data, (40, 52), resize="crop")


def test_evaluation_batches(voc):
    first, second = eval_batches(voc, (120, 120), batch_size=2, resize="letterbox")
    assert first["images"].shape == (2, 120, 120, 3) and second["images"].shape[0] == 1
    np.testing.assert_array_equal(first["image_id"], [0, 1])
    np.testing.assert_array_equal(second["image_id"], [2])
    assert first["image_id"].dtype == tf.int64
    np.testing.assert_array_equal(first["original_size"], [[60, 80]] * 2)
    # 60 x 80 px to 90 x 120, with 15 px of grey above and below.
    np.testing.assert_array_equal(first["scale"], [[1.5, 1.5]] * 2)
    np.testing.assert_array_equal(first["offset"], [[15, 0]] * 2)
    np.testing.assert_array_equal(first["boxes"][0], [[0, 0, 80, 60], [10, 20, 30, 40]])
    np.testing.assert_array_equal(first["classes"], [[1, 0], [-1, -1]])
    np.testing.assert_array_equal(first["difficult"], [[False, True], [False, False]])
    np.testing.assert_array_equal(first["area"], [[4800, 400], [-1, -1]])
    assert first["crowd"].dtype == tf.bool and not first["crowd"].numpy().any()
    np.testing.assert_array_equal(
        network_boxes(first)["boxes"][0], [[0, 15, 120, 105], [15, 45, 45, 75]]
    )


def test_network_boxes_leave_crowds_out():
    batch = {
        "boxes": tf.constant([[[0.0, 0, 9, 9], [2, 2, 4, 4], [-1, -1, -1, -1]]]),
        "classes": tf.constant([[0.0, 1, -1]]),
        "crowd": tf.constant([[True, False, False]]),
        "scale": tf.constant([[2.0, 3]]),
        "offset": tf.constant([[1.0, 0]]),
    }
    objects = network_boxes(batch)
    np.testing.assert_array_equal(objects["classes"], [[1, -1, -1]])
    np.testing.assert_array_equal(objects["boxes"][0, 0], [6, 5, 12, 9])
    assert (objects["boxes"].numpy()[0, 1:] == -1).all()


def test_training_and_evaluation_see_the_same_image(voc):
    batch = next(iter(eval_batches(voc, (25, 33))))
    images, _ = next(iter(train_batches(voc, (25, 33), 3)(0)))
    order = np.argsort(images.numpy().mean((1, 2, 3)))
    expected = np.argsort(batch["images"].numpy().mean((1, 2, 3)))
    np.testing.assert_array_equal(images.numpy()[order], batch["images"].numpy()[expected])


@pytest.mark.parametrize("harm", ["gone", "cut", "replaced", "rotten", "replaced at its size"])
def test_images_that_break_later_are_named_and_do_not_stop(tmp_path, caplog, harm):
    root, shown = mixed(tmp_path)
    data = load_data(f"coco:{root}")
    epochs = train_batches(data, (60, 80), 5)
    for name in ("a.jpg", "c.webp"):
        file = root / "train2017" / name
        if harm == "gone":
            file.unlink()
        elif harm == "cut":
            file.write_bytes(file.read_bytes()[:200])
        elif harm == "replaced":
            picture(40, 40).save(file)
        elif harm == "rotten":  # neither its size nor its time tells
            status, content = file.stat(), bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(content)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:  # by as many bytes
            other = io.BytesIO()
            picture(60, 80, seed=9).save(other, file.suffix[1:].replace("jpg", "jpeg"), quality=30)
            size = file.stat().st_size
            assert len(other.getvalue()) <= size
            file.write_bytes(other.getvalue().ljust(size, b"\0"))
    images, targets = next(iter(epochs(0)))
    whole = targets["classes"].numpy()[:, 0] == 0
    assert whole.sum() == 3
    np.testing.assert_array_equal(images[~whole], np.full((2, 60, 80, 3), 127))
    np.testing.assert_array_equal(targets["boxes"][~whole], np.full((2, 1, 4), -1))
    (batch,) = eval_batches(data, (60, 80))
    np.testing.assert_array_equal(batch["images"].numpy()[[0, 2]], np.full((2, 60, 80, 3), 127))
    np.testing.assert_array_equal(batch["original_size"], [[60, 80]] * 5)
    assert sorted(p.file[-6:] for p in data.broken) == ["/a.jpg", "c.webp"]
    assert len(caplog.records) == 2 and "a grey image without objects" in caplog.text


def test_a_bit_that_turns_between_two_processes_is_named(tmp_path):
    root, _ = mixed(tmp_path)
    file = root / "train2017/b.png"
    load_data(f"coco:{root}")
    content, status = bytearray(file.read_bytes()), file.stat()
    content[content.index(b"IDAT") + 20] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    data = load_data(f"coco:{root}")
    images, _ = next(iter(train_batches(data, (60, 80), 5)(0)))
    assert (images.numpy() == 127).all(axis=(1, 2, 3)).sum() == 1
    ((named, reason),) = [(p.file, p.reason) for p in data.broken]
    assert named == str(file) and reason == "the image file was changed after it was checked"


def test_an_image_that_was_only_touched_is_used(tmp_path):
    root, _ = mixed(tmp_path)
    data = load_data(f"coco:{root}")
    (root / "train2017/a.jpg").touch()
    assert np.ptp(next(iter(eval_batches(data, (60, 80))))["images"][0]) > 20
    assert data.broken == []


def test_objects_below_a_pixel_are_counted_and_said(tmp_path, caplog):
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [8, 8, *sides], "iscrowd": crowd}
        for sides, crowd in (((4, 4), 0), ((2, 8), 0), ((8, 2), 0), ((1, 1), 1))
    ]
    images = [{"id": 1, "file_name": "x.jpg"}]
    root = write_coco(tmp_path, images, annotations, [{"id": 1, "name": "dog"}])
    data = load_data(f"coco:{root}")
    # 60 x 80 px to a quarter: 4 px are one.
    epochs = train_batches(data, (15, 20), 1)
    assert (next(iter(epochs(0)))[1]["classes"].numpy() >= 0).sum() == 1
    assert "2 of 3 objects are smaller than a pixel in an input of 15 x 20" in caplog.text
    assert "an input of 30 x 40 keeps them" in caplog.text
    assert small_objects(data, (30, 40)) == (0, 3, (30, 40))
    # The shorter scale counts for both sides.
    assert small_objects(data, (15, 40), "letterbox") == (2, 3, (30, 40))
    with pytest.raises(ValueError, match="all 3 objects are smaller than a pixel in an input of 3"):
        train_batches(data, (3, 4), 1)
    assert small_objects(data, (60, 20), "stretch").count == 1


def test_objects_without_a_mask_are_left_out_and_counted(tmp_path, caplog):
    box, mask = [10, 10, 20, 20], [[10, 10, 30, 10, 30, 30, 10, 30]]
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": box, "segmentation": [[1, 2]]},
        {"image_id": 1, "category_id": 2, "bbox": box, "segmentation": mask},
    ]
    images = [{"id": 1, "file_name": "x.jpg"}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    data = load_data(f"coco:{write_coco(tmp_path, images, annotations, categories)}")
    _, targets = next(iter(train_batches(data, (60, 80), 1, masks=True)(0)))
    np.testing.assert_array_equal(targets["classes"], [[1]])
    assert "1 of 2 objects have no mask and are not trained on" in caplog.text
    _, targets = next(iter(train_batches(data, (60, 80), 1)(0)))
    np.testing.assert_array_equal(targets["classes"], [[0, 1]])
