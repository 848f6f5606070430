import numpy as np
import pytest
import tensorflow as tf

from harmonic_tf.training.data import Augmentation, load_data, train_batches
from harmonic_tf.training.data.transforms.mosaic import _fill, add_mosaics

HEIGHT, WIDTH = 40, 60
SEED = tf.constant([3, 4])
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], "float32")
EMPTY = {"boxes": -tf.ones((4, 2, 4)), "classes": -tf.ones((4, 2))}


def rectangles(seed=0):
    """Four black images, each with a rectangle of a colour of its own, and an empty row."""
    rng = np.random.default_rng(seed)
    images = np.zeros((4, HEIGHT, WIDTH, 3), "float32")
    boxes = np.full((4, 2, 4), -1, "float32")
    for image, box, colour in zip(images, boxes, COLOURS, strict=True):
        x1, y1 = rng.integers(0, 30), rng.integers(0, 20)
        x2, y2 = x1 + rng.integers(15, 30), y1 + rng.integers(12, 20)
        image[y1:y2, x1:x2] = colour
        box[0] = x1, y1, x2, y2
    classes = np.stack([np.arange(4), -np.ones(4)], axis=1).astype("float32")
    return tf.constant(images), {"boxes": tf.constant(boxes), "classes": tf.constant(classes)}


def test_each_quarter_shows_an_image_of_the_batch():
    images = np.ones((4, HEIGHT, WIDTH, 3), "float32") * [[[[0]]], [[[1]]], [[[2]]], [[[3]]]]
    mosaics, targets = add_mosaics(tf.constant(images, tf.float32), EMPTY, 1.0, SEED)
    mosaics = mosaics.numpy()
    for number, mosaic in enumerate(mosaics):
        corners = [mosaic[y, x, 0] for y in (0, -1) for x in (0, -1)]
        assert corners == [number, (number - 1) % 4, (number - 2) % 4, (number - 3) % 4]
        assert np.isin(mosaic, range(4)).all()
    row, column = (mosaics[0, :, 0, 0] == 0).sum(), (mosaics[0, 0, :, 0] == 0).sum()
    assert 0.3 * HEIGHT - 1 <= row <= 0.7 * HEIGHT + 1
    assert 0.3 * WIDTH - 1 <= column <= 0.7 * WIDTH + 1
    assert targets["boxes"].shape == (4, 8, 4) and (targets["classes"].numpy() == -1).all()


def test_a_whole_image_in_a_quarter_is_the_mean_of_its_pixels():
    """The upper right quarter of four equal ones, half as large: 2 x 2 pixels become one."""
    images = np.random.default_rng(0).uniform(0, 255, (1, HEIGHT, WIDTH, 3)).astype("float32")
    boxes = tf.constant([[[10.0, 4, 40, 20], [-1, -1, -1, -1]]])
    quarter = tf.constant([0, 30, 20, 60])
    part, placed, classes = _fill(
        quarter, images, boxes, tf.constant([[2.0, -1]]), tf.constant([[0.0, 0.3, 0.9]])
    )
    means = images.reshape(1, 20, 2, 30, 2, 3).mean((2, 4))
    np.testing.assert_allclose(part, means, rtol=1e-4)
    assert placed.numpy().tolist() == [[[35, 2, 50, 10], [-1, -1, -1, -1]]]
    assert classes.numpy().tolist() == [[2, -1]]


def test_a_part_at_its_own_size_is_cut_and_keeps_what_has_its_centre_there():
    """The lower left quarter, 10 x 30 px, with the lower right 10 x 30 px of an image."""
    images = np.random.default_rng(0).uniform(0, 255, (1, HEIGHT, WIDTH, 3)).astype("float32")
    boxes = [
        [20, 28, 50, 38],  # Its centre (35, 33) is shown, of x what is right of 30.
        [0, 32, 50, 38],  # Its centre (25, 35) is not.
        [31, 39.5, 60, 40],  # Half a pixel high.
        [29.5, 20, 60, 40.5],  # Its centre (44.75, 30.25) is shown.
    ]
    quarter = tf.constant([30, 0, 40, 30])
    part, placed, classes = _fill(
        quarter, images, tf.constant([boxes]), tf.constant([[0.0, 1, 2, 3]]), tf.ones((1, 3))
    )
    np.testing.assert_allclose(part, images[:, 30:, 30:], rtol=1e-4)
    assert classes.numpy().tolist() == [[0, 3, -1, -1]]
    assert placed.numpy()[0, :2].tolist() == [[0, 30, 20, 38], [0, 30, 30, 40]]


def test_boxes_bound_the_pixels():
    checked = 0
    for seed in range(8):
        images, targets = add_mosaics(*rectangles(seed), 1.0, tf.constant([seed, 1]))
        for image, boxes, classes in zip(
            images.numpy(), targets["boxes"].numpy(), targets["classes"].numpy(), strict=True
        ):
            assert (np.diff((classes >= 0).astype(int)) <= 0).all()
            assert (boxes[classes < 0] == -1).all()
            for box, kind in zip(boxes[classes >= 0], classes[classes >= 0], strict=True):
                near = np.abs(image - COLOURS[int(kind)]).max(-1) < 100
                rows, columns = np.nonzero(near)
                seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                np.testing.assert_allclose(box, seen, atol=1.01)
                checked += 1
    assert checked > 60


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_images_stays_as_it_is(share):
    images = tf.random.stateless_uniform((200, 8, 8, 3), (1, 2))
    boxes, classes = tf.tile([[[1.0, 2, 7, 8]]], [200, 1, 1]), tf.ones((200, 1))
    found, targets = add_mosaics(images, {"boxes": boxes, "classes": classes}, share, SEED)
    same = (found == images).numpy().all((1, 2, 3))
    assert abs(same.mean() - (1 - share)) < 0.1
    assert targets["classes"].numpy()[same].tolist() == [[1, -1, -1, -1]] * same.sum()
    np.testing.assert_array_equal(targets["boxes"].numpy()[same][:, 0], boxes[: same.sum(), 0])


def test_epochs_with_mosaics_depend_on_seed_and_epoch_alone():
    data = load_data("shapes:train=8")
    one, other = (
        train_batches(data, (40, 52), 4, augmentation=Augmentation(mosaic=1.0), seed=seed)
        for seed in (1, 2)
    )
    first = list(one(0))
    for (images, targets), (same, found) in zip(first, one(0), strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(targets["boxes"], found["boxes"])
        assert images.shape == (4, 40, 52, 3) and targets["boxes"].shape[1] % 4 == 0
    for another in (one(1), other(0)):
        assert (first[0][0] != next(iter(another))[0]).numpy().any()


def test_masks_are_refused():
    with pytest.raises(ValueError, match="mosaic is for detectors of boxes"):
        train_batches(
            load_data("shapes:train=2"), (40, 52), 2, augmentation=Augmentation.light_mosaic(),
            masks=True,
        )  # fmt: skip
