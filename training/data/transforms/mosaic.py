"""Mosaics (Bochkovskiy et al. 2020, YOLOv4): four images of a batch in one, each in a quarter.

Objects become smaller, and appear beside others' surroundings. The images are those that the batch
has anyway, so that no more are read.
"""

import tensorflow as tf

from harmonic_tf.training.data.transforms.geometry import Placement, keep_objects, place_boxes

# Where the four meet, as fractions of height and width.
CENTRES = (0.3, 0.7)


def add_mosaics(images, targets: dict, share: float, seed):
    """Turns some images of a batch into mosaics of themselves and the three before them.

    The four meet in a point that is drawn for the batch. A quarter shows a part of its image, at
    its own size or smaller, at most so small that the whole height or width is seen. Objects stay
    by the rule of `place_boxes`: those whose centre is shown, cut where the quarter ends.

    Args:
        images: float32 `(B, H, W, 3)`.
        targets: {"boxes": float32 `(B, M, 4)` in xyxy pixels, "classes": float32 `(B, M)`}, padded
            with -1.
        share: float. Probability that an image becomes a mosaic.
        seed: int32 `(2,)`.

    Returns:
        tuple `(images, targets)` in the same form, with room for `4 M` objects.
    """
    centre_seed, part_seed, share_seed = tf.unstack(tf.random.split(seed, 3))
    count, height, width = images.shape[:3]
    centre = tf.random.stateless_uniform([2], centre_seed, *CENTRES) * [height, width]
    middle, centre = tf.unstack(tf.cast(tf.round(centre), tf.int32))
    quarters = (
        (0, 0, middle, centre),
        (0, centre, middle, width),
        (middle, 0, height, centre),
        (middle, centre, height, width),
    )
    draws = tf.random.stateless_uniform([4, count, 3], part_seed)
    parts, objects = [], []
    for number, quarter in enumerate(quarters):
        rolled = (tf.roll(x, number, 0) for x in (images, targets["boxes"], targets["classes"]))
        part, *found = _fill(tf.stack(quarter), *rolled, draws[number])
        parts.append(part)
        objects.append(found)
    rows = [tf.concat(parts[:2], axis=2), tf.concat(parts[2:], axis=2)]
    boxes, classes = (tf.concat(field, axis=1) for field in zip(*objects, strict=True))
    boxes, classes = keep_objects(classes >= 0, boxes, classes)
    chosen = tf.random.stateless_uniform([count], share_seed) < share
    room = 3 * targets["classes"].shape[1]
    plain_boxes = tf.pad(targets["boxes"], [[0, 0], [0, room], [0, 0]], constant_values=-1)
    plain_classes = tf.pad(targets["classes"], [[0, 0], [0, room]], constant_values=-1)
    mosaics = tf.ensure_shape(tf.concat(rows, axis=1), images.shape)
    return tf.where(chosen[:, None, None, None], mosaics, images), {
        "boxes": tf.where(chosen[:, None, None], boxes, plain_boxes),
        "classes": tf.where(chosen[:, None], classes, plain_classes),
    }


def _fill(quarter, images, boxes, classes, draws):
    """A part of each image in the size of a quarter, and the objects that it shows."""
    whole = tf.constant(tuple(images.shape[1:3]), tf.float32)
    size = tf.cast(quarter[2:] - quarter[:2], tf.float32)
    smallest = tf.reduce_max(size / whole)
    scale = smallest + (1 - smallest) * draws[:, :1]
    shown = size / scale
    start = (whole - shown) * draws[:, 1:]
    # The operation counts from the centre of the first pixel to that of the last.
    margin = 0.5 / scale - 0.5
    ends = tf.concat([start + margin, start + shown - 1 - margin], axis=-1)
    part = tf.image.crop_and_resize(
        images,
        ends / tf.concat([whole - 1, whole - 1], axis=0),
        tf.range(tf.shape(images)[0]),
        quarter[2:] - quarter[:2],
    )
    placement = Placement(
        level=tf.constant(0),
        source=quarter,
        target=tf.broadcast_to(quarter, [tf.shape(images)[0], 4]),
        scale=tf.broadcast_to(scale, tf.shape(start)),
        offset=tf.cast(quarter[:2], tf.float32) - start * scale,
    )
    boxes, classes, _ = place_boxes(boxes, classes, placement)
    return part, boxes, classes
