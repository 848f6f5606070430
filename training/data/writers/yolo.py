"""Writes YOLO folders, as Ultralytics reads them: data.yaml, images/SPLIT, labels/SPLIT."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from harmonic_tf.training.data.dataset import DetectionData, Objects, Sample
from harmonic_tf.training.data.formats.assembly import frame
from harmonic_tf.training.data.formats.roles import fitting
from harmonic_tf.training.data.writers import losses
from harmonic_tf.training.files import write_bytes

# Pixels between an object's box and that of its polygon, as from rounding.
TOLERANCE = 0.01


def write_yolo(splits: dict[str, DetectionData], folder: Path, place: Callable) -> list[str]:
    """Writes all splits; arguments and result as of `write_coco`.

    A line is a polygon where the object has one alone, whose box is the object's, else a box.
    """
    lost = []
    for split, data in splits.items():
        for sample in data.records:
            name = place(sample, folder / "images" / split)
            file = (folder / "labels" / split / name).with_suffix(".txt")
            write_bytes(file, "".join(_lines(sample)).encode())
        lost += losses.ids(data)
        lost += losses.counted(data, "masks", _loses_mask)
        lost += losses.counted(data, "areas other than the box's", losses.has_own_area)
        lost += losses.counted(data, "flags 'difficult'", lambda o, n: o.difficult[n])
        lost += losses.counted(data, "crowd regions", lambda o, n: o.crowd[n])
    content = {**_places(list(splits)), "names": dict(enumerate(data.class_names))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_bytes(folder / "data.yaml", text.encode())
    return lost


def _places(splits: list[str]) -> dict[str, str]:
    """Splits and their folders; what is called train2017, say, is Ultralytics' train."""
    roles = {"train": fitting(splits, "train") or splits, "val": fitting(splits, "eval")}
    places = {role: found[0] for role, found in roles.items() if len(found) == 1}
    places |= {split: split for split in splits if split not in places.values() or split == "test"}
    return {name: f"images/{split}" for name, split in places.items()}


def _polygon(objects: Objects, place: int) -> list | None:
    """The polygon that says all of an object's mask and its box, too."""
    mask = objects.segmentations[place]
    if not isinstance(mask, list) or len(mask) != 1:
        return None
    off = np.abs(np.subtract(frame(mask), objects.boxes[place]))
    return mask[0] if off.max() <= TOLERANCE else None


def _loses_mask(objects: Objects, place: int) -> bool:
    return bool(objects.segmentations[place]) and _polygon(objects, place) is None


def _lines(sample: Sample) -> list[str]:
    objects, lines = sample.objects, []
    size = np.array([sample.width, sample.height], np.float64)
    for place, box in enumerate(objects.boxes.astype(np.float64)):
        if objects.crowd[place]:
            continue
        low, high = box.reshape(2, 2) / size
        polygon = _polygon(objects, place)
        values = np.concatenate([(low + high) / 2, high - low])
        if polygon is not None:
            values = (np.reshape(polygon, (-1, 2)) / size).ravel()
        lines.append(" ".join(map(str, [objects.classes[place], *values.tolist()])) + "\n")
    return lines
