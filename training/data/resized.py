"""The same data with its images decoded and brought to the network's size once, not every epoch."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from harmonic_tf.training.data.cache import kept_arrays
from harmonic_tf.training.data.dataset import DetectionData, Sample
from harmonic_tf.training.data.images import bmp_size, to_bmp
from harmonic_tf.training.data.reading import PARALLEL, fixed_pipeline, orientations, reader
from harmonic_tf.training.data.transforms import geometry as placing
from harmonic_tf.training.data.transforms.geometry import Placement
from harmonic_tf.training.data.transforms.render import render
from harmonic_tf.training.interrupts import interruptible
from harmonic_tf.training.progress import progress_bar


def resized_data(
    data: DetectionData,
    image_size: tuple[int, int],
    resize: str,
    place: str,
    say: Callable = print,
) -> DetectionData:
    """Data whose images are kept decoded, at the size that a network's input shows them in.

    Whatever is drawn for an epoch is then drawn on these: a crop enlarges their pixels, and those
    of the original are not read again.

    Args:
        data: DetectionData.
        image_size: (int, int). Height and width of the network's input.
        resize: str. "stretch": images have that size; "letterbox": they fit into it, with their
            aspect ratio and without a border.
        place: str. Where they are kept, as for `kept_arrays`.
        say: callable, as for `kept_arrays`.

    Returns:
        DetectionData, with boxes in the pixels of the kept images.

    Raises:
        UserError: see `kept_arrays`.
        ValueError: an image cannot be read any more.

    Example:
        >>> data = load_data("shapes:train=2,size=320x240")
        >>> small = resized_data(data, (60, 80), "stretch", "memory")
        images: 28908 bytes in memory
        >>> small.records[0].width, small.records[0].height
        (80, 60)
    """
    where = _placements(data, image_size, resize)
    sizes = where.target[:, 2:] - where.target[:, :2]
    ends = np.cumsum([bmp_size(*size) for size in sizes.tolist()]).tolist()
    spans = [slice(*span) for span in zip([0, *ends], ends, strict=False)]
    about = {"content": content_of(data), "image_size": list(image_size), "resize": resize}

    def fill(arrays):
        pictures = _pictures(data, where, image_size)
        for span, picture in zip(spans, pictures, strict=True):
            arrays["files"][span] = np.frombuffer(to_bmp(Image.fromarray(picture)), np.uint8)

    files = kept_arrays("images", about, {"files": ((ends[-1],), "uint8")}, fill, place, say)
    files = files["files"]
    records = [
        _resized(record, size, scale, lambda span=span: files[span].tobytes())
        for record, size, scale, span in zip(
            data.records, sizes.tolist(), where.scale, spans, strict=True
        )
    ]
    return dataclasses.replace(data, records=tuple(records))


def content_of(data: DetectionData) -> str:
    """Hash of the bytes of all images, in their order."""
    content = hashlib.sha256()
    for record in data.records:
        digest = record.digest or hashlib.sha256(record.stored()).hexdigest()
        content.update(f"{digest}\n".encode())
    return content.hexdigest()


def _placements(data, image_size, resize) -> Placement:
    """Where each whole image goes in the network's input, as arrays."""
    sizes = tf.constant([(record.height, record.width) for record in data.records])
    windows = tf.cast(tf.concat([tf.zeros_like(sizes), sizes], axis=-1), tf.float32)
    are_jpeg = tf.constant([record.is_jpeg for record in data.records])
    where = placing.place(windows, sizes, are_jpeg, image_size, resize)
    return Placement(*(part.numpy() for part in where))


def _pictures(data, where, image_size):
    """Each image, uint8, without the border around it."""
    read, orientation_of = reader(data), orientations(data)

    def picture_of(index, placement):
        encoded, is_whole = read(index)
        picture = render(encoded, Placement(*placement), image_size, orientation_of(index))
        top, left, bottom, right = tf.unstack(placement[2])
        picture = tf.cast(tf.round(picture[top:bottom, left:right]), tf.uint8)
        return picture, is_whole

    pictures = (
        tf.data.Dataset.from_tensor_slices((np.arange(len(data), dtype=np.int32), tuple(where)))
        .map(picture_of, **PARALLEL)
        .with_options(fixed_pipeline())
        .as_numpy_iterator()
    )
    with progress_bar(True) as bar:
        shown = bar.track(interruptible(pictures), len(data), description="images")
        for record, (picture, is_whole) in zip(data.records, shown, strict=True):
            if not is_whole:
                raise ValueError(f"{record.name} can no longer be read, and is not kept")
            yield picture


def _resized(record: Sample, size, scale, encoded) -> Sample:
    height, width = size
    scale = tuple(scale[::-1].tolist())
    limits = (width, height, width, height)
    boxes = np.clip(record.objects.boxes * np.float32(2 * scale), 0, np.float32(limits))
    return dataclasses.replace(
        record,
        height=height,
        width=width,
        is_jpeg=False,
        encoded=encoded,
        objects=dataclasses.replace(record.objects, boxes=boxes),
        orientation=1,
        with_pillow=False,
        digest="",
        mask_scale=scale,
    )
