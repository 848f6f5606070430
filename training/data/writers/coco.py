"""Writes COCO folders: annotations/instances_SPLIT.json, images in SPLIT/."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData, Sample
from harmonic_tf.training.data.writers import losses
from harmonic_tf.training.data.writers.digits import shortest
from harmonic_tf.training.files import write_json

FORM = "coco"


def write_coco(splits: dict[str, DetectionData], folder: Path, place: Callable) -> list[str]:
    """Writes all splits.

    Args:
        splits: dict. Name of a split -> DetectionData, all with the same classes.
        folder: Path.
        place: function of a Sample and a folder that puts the image there, and returns its path
            relative to that folder.

    Returns:
        list of str. What this form cannot say. What the source says besides is written where it is
        of this form.
    """
    lost = []
    for split, data in splits.items():
        own_ids = _has_own_ids(data)
        content = _content(data, own_ids, lambda sample, to=folder / split: place(sample, to))
        file = folder / "annotations" / f"instances_{split}.json"
        try:
            write_json(file, content, indent=None)
        except ValueError:
            content, count = _standard(content)
            write_json(file, content, indent=None)
            lost.append(f"{split}: numbers that are NaN or infinite ({count})")
        lost += losses.counted(data, "flags 'difficult'", lambda o, n: o.difficult[n])
        if not own_ids:
            lost += losses.ids_of_objects(data)
    return lost


def _standard(content: dict) -> tuple[dict, int]:
    """The content with null for NaN and infinity, which JSON does not have, and their number."""
    found: list[str] = []
    return json.loads(json.dumps(content), parse_constant=found.append), len(found)


def _content(data: DetectionData, own_ids: bool, place: Callable[[Sample], str]) -> dict:
    is_coco = data.form == FORM
    further_of = data.further["categories"] if is_coco else {}
    images, annotations = [], []
    for sample in data.records:
        image = {"id": sample.image_id, "file_name": place(sample)}
        image |= {"height": sample.height, "width": sample.width}
        images.append(image | (sample.further or {} if is_coco else {}))
        for number, annotation in enumerate(_annotations(sample, data.category_ids)):
            own = {"id": sample.objects.identifiers[number] if own_ids else len(annotations) + 1}
            further = sample.objects.further[number] if is_coco else None
            annotations.append(own | annotation | (further or {}))
    categories = [
        {"id": number, "name": name} | (further_of.get(name) or {})
        for number, name in zip(data.category_ids, data.class_names, strict=True)
    ]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return (data.further["file"] if is_coco else {}) | lists


def _has_own_ids(data: DetectionData) -> bool:
    """Whether every object has an id that is no other's."""
    ids = losses.identifiers(data)
    return None not in ids and len(set(ids)) == len(ids)


def _annotations(sample: Sample, category_ids: tuple[int, ...]) -> list[dict]:
    objects, found = sample.objects, []
    corners = shortest(objects.boxes[:, :2])
    sides = shortest(objects.boxes[:, 2:] - corners, lambda sides: corners + sides)
    areas = shortest(objects.area).tolist()
    for place, box in enumerate(np.concatenate([corners, sides], axis=1).tolist()):
        found.append(
            {
                "image_id": sample.image_id,
                "category_id": category_ids[objects.classes[place]],
                "bbox": box,
                "area": areas[place],
                "iscrowd": int(objects.crowd[place]),
            }
        )
        mask = objects.segmentations[place]
        if mask:
            found[-1]["segmentation"] = mask
    return found
