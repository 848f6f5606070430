"""Writes VOC folders: JPEGImages, Annotations, ImageSets/Main."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from harmonic_tf.training.data.dataset import DetectionData, Objects, Sample
from harmonic_tf.training.data.writers import losses
from harmonic_tf.training.data.writers.digits import shortest
from harmonic_tf.training.files import write_bytes

FORM = "voc"
# What other sources do not say of an object, and readers of VOC may ask for.
DEFAULTS = {"pose": "Unspecified", "truncated": 0}
# What is added to a box's corners, for pixels count from 1.
FIRST = np.array([1.0, 1.0, 0.0, 0.0])


def write_voc(splits: dict[str, DetectionData], folder: Path, place: Callable) -> list[str]:
    """Writes all splits; arguments and result as of `write_coco`.

    Corners count from 1 and are inclusive, and may be fractions. Of a source in VOC's form, what
    else it says (pose, truncated, source, ...) is written as it stood.
    """
    lost, used = [], set()
    names = next(iter(splits.values())).class_names
    for split, data in splits.items():
        stems = []
        for sample in data.records:
            name = place(sample, folder / "JPEGImages")
            stems.append(name.removesuffix(Path(name).suffix))
            tree = _xml(sample, name, names, data.form == FORM)
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


def _xml(sample: Sample, name: str, names: tuple[str, ...], is_voc: bool) -> bytes:
    objects = sample.objects
    root = ElementTree.Element("annotation")
    _add(root, filename=name)
    size = ElementTree.SubElement(root, "size")
    _add(size, width=sample.width, height=sample.height, depth=3)
    root.extend(sample.further if is_voc else ())
    corners = shortest(objects.boxes + FIRST, lambda corners: corners - FIRST)
    for place, (xmin, ymin, xmax, ymax) in enumerate(corners.tolist()):
        if not _can_be_said(objects, place):
            continue
        node = ElementTree.SubElement(root, "object")
        difficult = int(objects.difficult[place])
        label = names[objects.classes[place]]
        _add(node, name=label)
        further = objects.further[place] if is_voc else ()
        said = {child.tag for child in further}
        _add(node, **{tag: text for tag, text in DEFAULTS.items() if tag not in said})
        node.extend(further)
        _add(node, difficult=difficult)
        box = ElementTree.SubElement(node, "bndbox")
        _add(box, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8")


def _add(node: ElementTree.Element, **values):
    for name, value in values.items():
        whole = isinstance(value, float) and value.is_integer()
        ElementTree.SubElement(node, name).text = str(int(value) if whole else value)
