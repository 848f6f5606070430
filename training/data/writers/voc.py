"""Writes VOC folders: JPEGImages, Annotations, ImageSets/Main."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData, Objects, Sample
from harmonic_tf.training.data.writers import losses
from harmonic_tf.training.data.writers.digits import shortest
from harmonic_tf.training.files import write_bytes

FORM = "voc"
# Characters that XML does not have, or reads as others.
UNSAYABLE = re.compile(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
# What is added to a box's corners, for pixels count from 1.
FIRST = np.array([1.0, 1.0, 0.0, 0.0])


def write_voc(splits: dict[str, DetectionData], folder: Path, place: Callable) -> list[str]:
    """Writes all splits; arguments and result as of `write_coco`.

    Corners count from 1 and are inclusive, and may be fractions. Of a source in VOC's form, what
    else it says (pose, truncated, source, ...) is written as it stood.
    """
    lost, used = [], set()
    names = next(iter(splits.values())).class_names
    label_of = _labels(names)
    for name, label in zip(names, label_of, strict=True):
        if name != label:
            lost.append(f"the class {name!r}, which is written as {label!r}")
    for split, data in splits.items():
        stems = []
        for sample in data.records:
            name = place(sample, folder / "JPEGImages")
            stems.append(name.removesuffix(Path(name).suffix))
            tree = _xml(sample, name, label_of, data.form == FORM)
            write_bytes(folder / "Annotations" / f"{stems[-1]}.xml", tree)
        listing = "".join(f"{stem}\n" for stem in stems)
        write_bytes(folder / "ImageSets" / "Main" / f"{split}.txt", listing.encode())
        used |= {names[o.classes[n]] for o, n in losses.each(data) if _can_be_said(o, n)}
        lost += losses.ids(data)
        lost += losses.counted(data, "masks", lambda o, n: o.segmentations[n])
        lost += losses.counted(data, "areas other than the box's", losses.has_own_area)
        lost += losses.counted(data, "crowd regions", lambda o, n: o.crowd[n])
        lost += losses.counted(
            data, "objects no wider or higher than a pixel", lambda o, n: _is_thin(o, n)
        )
    if tuple(sorted(used)) != names:
        lost.append("the order of classes, and those without objects")
    return lost


def _is_thin(objects: Objects, place: int) -> bool:
    """Whether the first pixel that is counted would not lie before the last."""
    x1, y1, x2, y2 = objects.boxes[place].tolist()
    return x1 + 1 >= x2 or y1 + 1 >= y2


def _can_be_said(objects: Objects, place: int) -> bool:
    return not objects.crowd[place] and not _is_thin(objects, place)


def _xml(sample: Sample, name: str, label_of: list[str], is_voc: bool) -> bytes:
    objects = sample.objects
    root = _begun("annotation", sample.further if is_voc else None)
    _add(root, filename=name)
    _add(_inside(root, "size"), width=sample.width, height=sample.height, depth=3)
    corners = shortest(objects.boxes + FIRST, lambda corners: corners - FIRST)
    for place, (xmin, ymin, xmax, ymax) in enumerate(corners.tolist()):
        if not _can_be_said(objects, place):
            continue
        node = _begun("object", objects.further[place] if is_voc else None)
        label = label_of[objects.classes[place]]
        difficult = int(objects.difficult[place])
        _add(node, name=label, pose="Unspecified", truncated=0, difficult=difficult)
        _add(_inside(node, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        root.append(node)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8")


def _begun(tag: str, further: ElementTree.Element | None) -> ElementTree.Element:
    """A node with what else a source of this form says in it."""
    return ElementTree.Element(tag) if further is None else copy.deepcopy(further)


def _inside(node: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = node.find(tag)
    return ElementTree.SubElement(node, tag) if found is None else found


def _add(node: ElementTree.Element, **values):
    """Adds what is not there yet, before all that is, in this order."""
    missing = [(tag, value) for tag, value in values.items() if node.find(tag) is None]
    for place, (tag, value) in enumerate(missing):
        whole = isinstance(value, float) and value.is_integer()
        child = ElementTree.Element(tag)
        child.text = str(int(value) if whole else value)
        node.insert(place, child)


def _labels(names: tuple[str, ...]) -> list[str]:
    """The classes' names as XML holds them and readers of VOC give them back."""
    found: list[str] = []
    for name in names:
        label = UNSAYABLE.sub("_", name).strip() or "_"
        while label in found or (label != name and label in names):
            label += "_"
        found.append(label)
    return found
