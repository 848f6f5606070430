"""From data to batches: `tf.data`, decoded lazily, the same for the same seed."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from harmonic_tf.training.console import printable_logger
from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.reading import PARALLEL, fixed_pipeline, orientations, reader
from harmonic_tf.training.data.segmentation import MASK_SIZE, frame_mask
from harmonic_tf.training.data.small import small_objects
from harmonic_tf.training.data.transforms import augmentation as augment
from harmonic_tf.training.data.transforms.augmentation import Augmentation
from harmonic_tf.training.data.transforms.geometry import (
    RESIZE_MODES,
    Placement,
    keep_objects,
    mirror_boxes,
    move_back,
    move_boxes,
    place,
    place_boxes,
)
from harmonic_tf.training.data.transforms.mosaic import add_mosaics
from harmonic_tf.training.data.transforms.render import fit_image, render

_log = printable_logger(__name__)
PREFETCHED_BATCHES = 2


def train_batches(
    data: DetectionData,
    image_size: tuple[int, int],
    batch_size: int = 16,
    resize: str = "stretch",
    augmentation: Augmentation | None = None,
    seed: int = 1,
    max_boxes: int | None = None,
    masks: bool = False,
) -> "TrainBatches":
    """Batches for training, one epoch at a time.

    Args:
        data: DetectionData. Crowd regions are left out, and objects that shrink below a pixel,
            which is said with their number; images without objects are negatives. An image that
            cannot be read any more is named, noted in `data.broken`, and shown as grey without
            objects, so that all other images keep their batches.
        image_size: (int, int). Height and width of the network's input.
        batch_size: int.
        resize: str. "stretch" or "letterbox".
        augmentation: Augmentation or None for none.
        seed: int. With the epoch, it decides the order and every random draw.
        max_boxes: int or None. M, the room for boxes. Defaults to the fullest image's number. With
            mosaics there is room for four times as many.
        masks: bool. Whether the objects' masks are among the targets. Objects without one are then
            left out, which is said with their number.

    Returns:
        A function: `epoch` (int) -> `tf.data.Dataset` of one epoch of `(images, targets)`. Images
        are float32 `(B, H, W, 3)`, 0..255. Targets are {"boxes": float32 `(B, M, 4)` in xyxy pixels
        of the network's input, "classes": float32 `(B, M)`}, padded with -1; with `masks` also
        "masks", float32 `(B, M, S, S)`: the share of each cell of the box that its object covers,
        padded with 0. The images that do not fill a batch are left out (others in every epoch).
        Its attribute `steps_per_epoch` is the number of batches.

    Raises:
        ValueError: fewer images than a batch, more objects than `max_boxes`, an unknown mode, no
        object with a mask where masks are asked for, none of a pixel or more in the input.

    Example:
        >>> data = load_data("shapes:train=8")
        >>> epochs = train_batches(data, (160, 208), 4, augmentation=Augmentation.light())
        >>> images, targets = next(iter(epochs(0)))
        >>> images.shape, epochs.steps_per_epoch
        (TensorShape([4, 160, 208, 3]), 2)
    """
    augmentation = augmentation or Augmentation()
    return TrainBatches(data, image_size, batch_size, resize, augmentation, seed, max_boxes, masks)


def whole_batches(what: str, count: int, batch_size: int) -> int:
    """How many batches so many images fill.

    Raises:
        ValueError: not even one; says what the images are.
    """
    if count < batch_size:
        raise ValueError(
            f"{what}: {count} images do not fill a batch of {batch_size}; take a smaller one "
            "(--batch-size)"
        )
    return count // batch_size


class TrainBatches:
    """See `train_batches`.

    `_plan` draws, for a batch at once, which window of each image is shown, how it is coloured, and
    where its boxes go; `_show` makes the pixels of one image, and its masks; `_combine`, if there
    are mosaics, makes them of a batch. Each is traced once, for all epochs.
    """

    def __init__(self, data, image_size, batch_size, resize, augmentation, seed, max_boxes, masks):
        _check_resize(resize)
        if masks and augmentation.mosaic:
            raise ValueError("mosaic is for detectors of boxes: masks are not cut with them.")
        self.steps_per_epoch = whole_batches(f"{data.name} {data.split}", len(data), batch_size)
        self._count = len(data)
        self._batch_size = batch_size
        self._seed = seed
        trained = _trained(data, masks)
        _report_small(data, image_size, resize)
        room = _room(data, [int(keep.sum()) for keep in trained], max_boxes)
        boxes = _table(data, "boxes", room, trained)
        classes = _table(data, "classes", room, trained)
        sizes = tf.constant([(record.height, record.width) for record in data.records])
        are_jpeg = tf.constant([record.is_jpeg for record in data.records])
        read, orientation_of = reader(data), orientations(data)
        draw_masks = _mask_drawer(data, trained) if masks else None

        @tf.function(autograph=False)
        def plan(number, indices, epoch_seed):
            seed = tf.random.fold_in(epoch_seed, number)
            window_seed, flip_seed, colour_seed = tf.unstack(tf.random.split(seed, 3))
            size, objects = tf.gather(sizes, indices), (boxes(indices), classes(indices))
            windows = augment.sample_windows(size, *objects, augmentation, window_seed)
            placement = place(windows, size, tf.gather(are_jpeg, indices), image_size, resize)
            placed, kinds, numbers = place_boxes(*objects, placement)
            flips = augment.sample_flips(batch_size, augmentation, flip_seed)
            mirrored = mirror_boxes(placed, kinds, image_size[1])
            targets = {"boxes": tf.where(flips[:, None, None], mirrored, placed), "classes": kinds}
            colours = augment.sample_colour_maps(batch_size, augmentation, colour_seed)
            framed = (numbers, move_back(placed, placement.scale, placement.offset))
            return indices, placement, flips, colours, targets, *(framed if masks else ())

        @tf.function(autograph=False)
        def show(index, placement, flips, colours, targets, *framed):
            encoded, is_whole = read(index)
            image = render(encoded, Placement(*placement), image_size, orientation_of(index))
            targets = {key: tf.where(is_whole, value, -1.0) for key, value in targets.items()}
            if augmentation.flip:
                image = tf.cond(flips, lambda: tf.reverse(image, [1]), lambda: image)
            image = augment.map_colours(image, augment.ColourMap(*colours), augmentation)
            if masks:
                numbers, boxes = framed
                framed = tf.where(is_whole, numbers, -1), boxes
                targets = {**targets, "masks": draw_masks(index, flips, *framed)}
            return image, targets

        @tf.function(autograph=False)
        def combine(number, batch, epoch_seed):
            seed = tf.random.fold_in(epoch_seed, -1 - number)  # none of the plans'
            return add_mosaics(*batch, augmentation.mosaic, seed)

        self._plan, self._show = plan, show
        self._combine = combine if augmentation.mosaic else None

    def __call__(self, epoch: int) -> tf.data.Dataset:
        """One epoch; the same for the same epoch, whenever and wherever it is asked for."""
        return self._batches(
            np.random.default_rng([self._seed, epoch]).permutation(self._count), epoch
        )

    def in_order(self, epoch: int) -> tf.data.Dataset:
        """One epoch's variation of all images in the data's order; the first ones fill it up."""
        batches = -(-self._count // self._batch_size)
        return self._batches(np.arange(batches * self._batch_size) % self._count, epoch)

    def _batches(self, order, epoch):
        epoch_seed = tf.constant([self._seed, epoch], tf.int32)
        batches = (
            tf.data.Dataset.from_tensor_slices(order.astype(np.int32))
            .batch(self._batch_size, drop_remainder=True)
            .enumerate()
            .map(lambda number, indices: self._plan(number, indices, epoch_seed), **PARALLEL)
            .unbatch()
            .map(self._show, **PARALLEL)
            .batch(self._batch_size, drop_remainder=True)
        )
        if self._combine:
            batches = batches.enumerate().map(
                lambda number, batch: self._combine(number, batch, epoch_seed), **PARALLEL
            )
        return batches.prefetch(PREFETCHED_BATCHES).with_options(fixed_pipeline())


def eval_batches(
    data: DetectionData,
    image_size: tuple[int, int],
    batch_size: int = 8,
    resize: str = "stretch",
) -> tf.data.Dataset:
    """Batches for evaluation, in the data's order; the last one may be short.

    Args:
        data: DetectionData.
        image_size: (int, int). Height and width of the network's input.
        batch_size: int.
        resize: str. "stretch" or "letterbox".

    An image that cannot be read any more is named, noted in `data.broken`, and shown as grey; its
    objects count as not found.

    Returns:
        `tf.data.Dataset` of dictionaries: "images" float32 `(B, H, W, 3)`, 0..255; "image_id" int64
        `(B,)`; "original_size" int32 `(B, 2)`, height and width; "scale" and "offset" float32
        `(B, 2)`, (y, x), with network = original * scale + offset; and the objects in pixels of
        the ORIGINAL image, padded with -1 or False to the fullest image's number M: "boxes"
        float32 `(B, M, 4)` xyxy, "classes" float32 `(B, M)`, "crowd" and "difficult" bool `(B, M)`,
        "area" float32 `(B, M)`.

    Raises:
        ValueError: an unknown resize mode.

    Example:
        >>> batch = next(iter(eval_batches(load_data("shapes:val=3", role="eval"), (160, 208))))
        >>> batch["images"].shape
        TensorShape([3, 160, 208, 3])
    """
    _check_resize(resize)
    room = _room(data, [len(record.objects) for record in data.records], None)
    annotations = ("boxes", "classes", "crowd", "difficult", "area")
    tables = {name: _table(data, name, room) for name in annotations}
    ids = tf.constant([record.image_id for record in data.records], tf.int64)
    read, orientation_of = reader(data), orientations(data)

    def image_of(index):
        encoded, _ = read(index)
        fitted = fit_image(encoded, image_size, resize, orientation_of(index))
        image, scale, offset, size = fitted
        return index, {"images": image, "scale": scale, "offset": offset, "original_size": size}

    def with_objects(indices, batch):
        objects = {name: table(indices) for name, table in tables.items()}
        return {**batch, "image_id": tf.gather(ids, indices), **objects}

    return (
        tf.data.Dataset.range(len(data), output_type=tf.int32)
        .map(image_of, **PARALLEL)
        .batch(batch_size)
        .map(with_objects)
        .prefetch(PREFETCHED_BATCHES)
        .with_options(fixed_pipeline())
    )


def network_boxes(batch: dict) -> dict:
    """The objects of an evaluation batch as a detector's `encode_targets` wants them.

    Args:
        batch: dict, from `eval_batches`.

    Returns:
        dict: "boxes" float32 `(B, M, 4)`, xyxy pixels of the network's input, and "classes" float32
        `(B, M)`, padded with -1. Crowd regions are left out.
    """
    boxes = move_boxes(batch["boxes"], batch["scale"], batch["offset"])
    is_object = (batch["classes"] >= 0) & ~batch["crowd"]
    boxes, classes = keep_objects(is_object, boxes, batch["classes"])
    return {"boxes": boxes, "classes": classes}


def _check_resize(resize: str):
    if resize not in RESIZE_MODES:
        raise ValueError(f"resize must be one of {RESIZE_MODES}, received {resize!r}.")


def _trained(data: DetectionData, masks: bool) -> list:
    """Which objects of each image are trained on: bool `(N,)` each."""
    trained = [~record.objects.crowd for record in data.records]
    if not masks:
        return trained
    with_mask = [
        np.array([mask is not None for mask in record.objects.segmentations], bool)
        for record in data.records
    ]
    kept = [own & has for own, has in zip(trained, with_mask, strict=True)]
    total, count = (sum(int(own.sum()) for own in column) for column in (trained, kept))
    if total and not count:
        raise ValueError(
            f"{data.name} ({data.split}) has no mask for any object; Mask R-CNN learns from masks: "
            "use shapes, coco:DIR, or a detector of boxes."
        )
    if count < total:
        _log.warning(
            "%s (%s): %d of %d objects have no mask and are not trained on",
            *(data.name, data.split, total - count, total),
        )
    return kept


def _report_small(data: DetectionData, image_size: tuple[int, int], resize: str):
    """Says how many objects are too small for the network's input; refuses data with no other."""
    found = small_objects(data, image_size, resize)
    if found.count and found.count == found.total:
        raise ValueError(
            f"{data.name} ({data.split}): all {found.total} objects are smaller than a pixel in an "
            "input of {} x {}; an input of {} x {} keeps them".format(*image_size, *found.keeping)
        )
    if found.count:
        _log.warning(
            "%s (%s): %d of %d objects are smaller than a pixel in an input of %d x %d and are not "
            "trained on; an input of %d x %d keeps them",
            *(data.name, data.split, found.count, found.total, *image_size, *found.keeping),
        )


def _mask_drawer(data: DetectionData, trained: list) -> Callable:
    """A function: index, whether flipped, numbers `(M,)`, boxes `(M, 4)` -> masks `(M, S, S)`.

    Numbers count the trained objects of the image; boxes are in its pixels. Masks are drawn anew
    each time: to hold all of them would take gigabytes.
    """
    segmentations = _segmentations(data, trained)
    scales = np.array([2 * record.mask_scale for record in data.records], np.float32)

    def draw(index, numbers, boxes):
        boxes = boxes / scales[index]
        masks = np.zeros((len(numbers), MASK_SIZE, MASK_SIZE), np.uint8)
        for row in np.flatnonzero(numbers >= 0):
            masks[row] = frame_mask(segmentations[index][numbers[row]], boxes[row])
        return masks

    def draw_masks(index, flipped, numbers, boxes):
        masks = tf.numpy_function(draw, [index, numbers, boxes], tf.uint8)
        masks = tf.ensure_shape(masks, (numbers.shape[0], MASK_SIZE, MASK_SIZE))
        masks = tf.where(flipped, tf.reverse(masks, [2]), masks)
        return tf.cast(masks, tf.float32) / 255.0

    return draw_masks


def _segmentations(data: DetectionData, trained: list) -> list[list]:
    """The annotated masks of the trained objects of each image."""
    return [
        [record.objects.segmentations[number] for number in np.flatnonzero(keep)]
        for record, keep in zip(data.records, trained, strict=True)
    ]


def _table(data: DetectionData, name: str, room: int, kept: list | None = None) -> Callable:
    """A function: indices `(B,)` -> one field of their objects, `(B, room, ...)`, padded.

    Numbers are float32 and padded with -1, flags with False. All are held in memory unpadded.
    """
    columns = [getattr(record.objects, name) for record in data.records]
    if kept is not None:
        columns = [column[keep] for column, keep in zip(columns, kept, strict=True)]
    values = np.concatenate(columns)
    values = values if values.dtype == bool else values.astype(np.float32)
    filler = False if values.dtype == bool else -1.0
    table = tf.RaggedTensor.from_row_lengths(values, [len(column) for column in columns])
    shape = (None, room, *values.shape[1:])
    return lambda indices: tf.gather(table, indices).to_tensor(filler, shape=shape)


def _room(data: DetectionData, counts: list[int], max_boxes: int | None) -> int:
    """M: how many boxes an image of a batch has room for."""
    fullest = int(np.argmax(counts))
    if max_boxes is None:
        return max(1, counts[fullest])
    if counts[fullest] > max_boxes:
        raise ValueError(
            f"{data.records[fullest].name} has {counts[fullest]} objects, more than "
            f"max_boxes={max_boxes}."
        )
    return max_boxes
