"""COCO's JSON files: in COCO's own folders, in those of Roboflow and CVAT, and alone."""

import collections
import contextlib
import functools
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Sample
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.listing import files_in
from harmonic_tf.training.data.formats.roles import WHOLE, pick_split, split_folders
from harmonic_tf.training.data.formats.values import Identifier
from harmonic_tf.training.data.headers import read_headers
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import BadDataError, Problem, Unusable
from harmonic_tf.training.data.segmentation import usable_segmentation
from harmonic_tf.training.data.text import begins_with, read_json
from harmonic_tf.training.data.validation import ProblemLog, check_size, unique

PREFIX, JSON = "instances_", (".json",)
ROBOFLOW_FILE = "_annotations.coco.json"
LISTS = re.compile(rb'^[^\w\[]*\{.*"(images|annotations)"\s*:\s*\[', re.DOTALL)
# What is read of the file and of the entries of its lists; all else is counted.
READ = {
    "annotations": {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"},
    "images": {"id", "file_name", "height", "width"},
    "categories": {"id", "name"},
}


class Part(NamedTuple):
    """Where a split lies.

    Attributes:
        file: Path. Its annotations.
        root: Path. What images must lie in.
        folders: tuple of Path. Where an image is looked for, in this order.
    """

    file: Path
    root: Path
    folders: tuple[Path, ...]


def load_coco(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads one of the JSON files of a folder, or one JSON file.

    They are annotations/instances_SPLIT.json, as COCO and CVAT write them, or where there is none
    annotations/SPLIT.json, with images in DIR/SPLIT, DIR/images/SPLIT, DIR/images or DIR; or
    SPLIT/_annotations.coco.json beside the images, as Roboflow does. Its category 0, which stands
    above the others and has no objects, is left out. Of another folder, its only JSON file, with
    images in DIR, DIR/images (Label Studio) or DIR/data (FiftyOne).

    Boxes (x, y, width, height) are continuous; crowd boxes and masks (polygons, RLE) are kept on
    the records. A segmentation that is missing or empty is no mask; one that cannot be drawn is
    named as a problem, and its object has its box without a mask. Ids of annotations are needed for
    nothing. What stands in the file besides is kept on the records for `write_coco`.

    Args:
        argument: str. The folder or the file. ",images=DIR" behind it says where images lie;
            with ",images=anywhere" file names may be absolute or lead out of the folder.
        role: str. Picks the one file whose split starts with "train", or "valid", "val" or "test".
        split: str or None. "val2017" for annotations/instances_val2017.json.
        class_names: tuple of str or None. None: all categories in the order of their ids.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image and category ids are COCO's; ids that are text get numbers above all
        others, in their order.

    Raises:
        ValueError: the folder or the split does not exist, or the role fits several splits.
        BadDataError: the JSON cannot be read.
    """
    root, images_at = values.split_images(argument)
    anywhere = images_at == values.ANYWHERE
    parts = _parts(root, Path(images_at).expanduser() if images_at and not anywhere else None)
    split = pick_split(parts, role, split, root)
    part, log = parts[split], problem_log
    file = part.file
    aside = {*files_in(root / "annotations", JSON, deep=False)} - {p.file for p in parts.values()}
    if aside:
        log.unread["other files of annotations"] = len(aside)
    content = _read(file)
    log.carried.update(values.further(content, READ, "the file"))
    categories, unclear = _entries(content, "categories", ("id", "name"), log, file)
    others = [other.file for name, other in parts.items() if name != split]
    categories = _without_heading(categories, content, class_names, others, log)
    class_names, category_ids, label_of = _classes(categories, class_names)
    label_of |= dict.fromkeys(unclear)
    images, unclear = _entries(content, "images", ("id", "file_name"), log, file)
    number_of = _numbers([image["id"] for image in images])
    for what, entries in (("images", images), ("categories", categories)):
        if texts := sum(isinstance(entry["id"], str) for entry in entries):
            log.unread[f"ids of {what} that are text"] = texts
    if doubles := len(categories) - len({str(category["name"]) for category in categories}):
        log.unread["categories of another's name"] = doubles
    annotations_of = _annotations_by_image(content, number_of, unclear, log, file)
    number_of_class = _numbers([category["id"] for category in categories])
    last_first = sorted(categories, key=lambda c: number_of_class[c["id"]], reverse=True)
    further_of_all = {
        "file": {key: content[key] for key in content if key not in READ},
        "categories": {label_of[c["id"]]: _further(c, "categories") for c in last_first},
    }
    content.clear()  # Annotations are let go of one by one: together they may be gigabytes.
    places = []
    for image in images:
        with log.naming(file, f"image {image['id']}"):
            _check_clear(image["id"], unclear)
            places.append((image, _image_file(part, str(image["file_name"]), anywhere)))
    records = []
    headers = read_headers([place for _, place in places])
    for (image, place), header in zip(places, headers, strict=True):
        with log.of_image(place), log.naming(file, f"image {image['id']}"):
            if isinstance(header, Unusable):
                raise header
            check_size(header, values.whole(image.get("height")), values.whole(image.get("width")))
            name = str(image["file_name"])
            annotations = []
            for number, entry in annotations_of.pop(image["id"], []):
                where = functools.partial(_named, entry, number, name)
                with log.naming(file, where):
                    annotations.append(
                        _annotation(entry, header, label_of, class_names, log, (file, where))
                    )
            objects = log.objects(annotations)
            further = _further(image, "images")
            records.append(Sample.of(name, number_of[image["id"]], header, place, objects, further))
    return DetectionData(
        name=root.resolve().stem if root.is_file() else root.resolve().name,
        split=split,
        class_names=class_names,
        category_ids=category_ids,
        records=tuple(records),
        splits=tuple(parts),
        further=further_of_all,
    )


def is_coco(place: Path) -> bool:
    """Whether a path looks like one of these."""
    return place.suffix.lower() == ".json" if place.is_file() else bool(_parts(place, None))


def _parts(root: Path, images: Path | None) -> dict[str, Part]:
    """The splits of a folder or file; images may lie in a folder of their own."""
    if root.is_file():
        base = root.parent.parent if root.parent.name == "annotations" else root.parent
        folders = (base, base / "images")
        split = root.stem.removeprefix(PREFIX)
        found = {WHOLE: Part(root, base, (*folders, *(folder / split for folder in folders)))}
    else:
        found = {}
        for split, folder in ({WHOLE: root} | split_folders(root)).items():
            if (folder / ROBOFLOW_FILE).is_file():
                found[split] = Part(folder / ROBOFLOW_FILE, root, (folder,))
        files = files_in(root / "annotations", JSON, deep=False)
        instances = [file for file in files if file.name.startswith(PREFIX)]
        for file in instances or [file for file in files if begins_with(file, LISTS)]:
            split = file.stem.removeprefix(PREFIX)
            folders = (root / split, root / "images" / split, root / "images", root)
            found[split] = Part(file, root, folders)
        alone = files_in(root, JSON, deep=False)
        if not found and len(alone) == 1 and begins_with(alone[0], LISTS):
            found[WHOLE] = Part(alone[0], root, (root, root / "images", root / "data"))
    if images is not None:
        found = {k: Part(part.file, images, (images,)) for k, part in found.items()}
    return found


def _read(file: Path) -> dict:
    """The content of an annotations file, with the lists that all else rests on in place."""
    try:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, received a {type(content).__name__}")
        for part in ("categories", "images", "annotations"):
            if not isinstance(content.get(part), list):
                raise ValueError(f"no list {part!r}")
    except (ValueError, OSError) as error:
        raise BadDataError([Problem(str(file), None, f"malformed JSON: {error}")]) from None
    return content


def _entries(content: dict, part: str, keys: tuple, log: ProblemLog, file: Path):
    """A list's entries that have what they need, each with an id of its own in one form.

    Told, too, are the ids that entries of several names share.
    """
    kept = []
    for place, entry in enumerate(content[part], 1):
        with log.naming(file):
            missing = [k for k in keys if not isinstance(entry, dict) or entry.get(k) is None]
            if missing:
                raise Unusable(f"malformed JSON: entry {place} of {part!r} has no {missing[0]!r}")
            if not entry.keys() <= READ[part]:
                log.carried.update(values.further(entry, READ[part], part))
            kept.append({**entry, "id": values.identifier(entry["id"])})
    named = {(entry["id"], str(entry[keys[1]])) for entry in kept}
    uses = collections.Counter(identifier for identifier, _ in named)
    unclear = {identifier for identifier, count in uses.items() if count > 1}
    return unique(kept, log, file, key=lambda entry: entry["id"]), unclear


def _check_clear(image_id: Identifier, unclear: set):
    if image_id in unclear:
        raise Unusable(f"ambiguous image: several files are listed with id {image_id}")


def _without_heading(
    categories: list[dict],
    content: dict,
    wanted: tuple[str, ...] | None,
    others: list[Path],
    log: ProblemLog,
) -> list[dict]:
    """The categories but Roboflow's number 0: it stands above all others and has no objects.

    In no split has it some: the classes of all are the same.
    """
    heading = next((c for c in categories if c["id"] == 0), None)
    below = [c for c in categories if c["id"] != 0]
    if not heading or not below or str(heading["name"]) in (wanted or ()):
        return categories
    above = all(c.get("supercategory") == heading["name"] for c in below)
    if not above or _uses_heading(content):
        return categories
    if wanted is None and any(map(_uses_heading, _readable(others))):
        return categories
    log.notes.append(f"category 0, {heading['name']!r}, stands above the others: it is left out")
    return below


def _uses_heading(content: dict) -> bool:
    return any(
        isinstance(entry, dict) and values.whole(entry.get("category_id")) == 0
        for entry in content["annotations"]
    )


def _readable(files: list[Path]) -> Iterator[dict]:
    """The contents of those that can be read; the others are named when it is their turn."""
    for file in files:
        with contextlib.suppress(BadDataError):
            yield _read(file)


def _numbers(identifiers: list[Identifier]) -> dict[Identifier, int]:
    """Ids that are numbers as they are; for the others, numbers above them."""
    free = max((i for i in identifiers if isinstance(i, int)), default=0) + 1
    texts = [i for i in identifiers if isinstance(i, str)]
    numbered = {text: free + place for place, text in enumerate(dict.fromkeys(texts))}
    return {i: numbered.get(i, i) for i in identifiers}


def _classes(categories: list[dict], class_names: tuple[str, ...] | None):
    """Names and category ids by class index, and the names by the file's ids.

    Names that the file does not know get unused ids; what a category that is not among the names
    is called is told, too.
    """
    number_of = _numbers([c["id"] for c in categories])
    by_number = sorted(categories, key=lambda c: number_of[c["id"]])
    id_of: dict[str, int] = {}
    for category in by_number:
        id_of.setdefault(str(category["name"]), number_of[category["id"]])
    free = max(number_of.values(), default=0) + 1
    for name in class_names or ():
        free += id_of.setdefault(name, free) == free
    names = class_names or tuple(id_of)
    label_of = {category["id"]: str(category["name"]) for category in categories}
    return names, tuple(id_of[name] for name in names), label_of


def _annotations_by_image(content: dict, known, unclear: set, log: ProblemLog, file: Path) -> dict:
    """The annotations of each image, with their places in the file."""
    by_image: dict[Identifier, list] = {}
    read = READ["annotations"]
    for number, entry in enumerate(content["annotations"], 1):
        with log.naming(file, functools.partial(_named, entry, number)):
            if not isinstance(entry, dict) or entry.get("image_id") is None:
                raise Unusable(f"malformed JSON: entry {number} of 'annotations' has no 'image_id'")
            image_id = values.identifier(entry["image_id"])
            if image_id not in known:
                raise Unusable(f"unknown image: id {entry['image_id']}")
            _check_clear(image_id, unclear)
            by_image.setdefault(image_id, []).append((number, entry))
            if not entry.keys() <= read:
                log.carried.update(values.further(entry, read, "annotations"))
    return by_image


def _named(entry, number: int, image: str = "") -> str:
    """An annotation by its id, or by its place in the file if it has none."""
    name = f"annotation {entry['id']}" if _has_id(entry) else f"annotation number {number}"
    return f"{name} of {image}" if image else name


def _has_id(entry) -> bool:
    return isinstance(entry, dict) and "id" in entry


def _image_file(part: Part, name: str, anywhere: bool) -> Path:
    """The image's file; where there is none, the path where it was expected."""
    names = dict.fromkeys((name, name.replace("\\", "/")))  # Windows writes folder\\file.
    candidates = (os.path.join(folder, name) for name in names for folder in part.folders)
    found = Path(next(filter(os.path.isfile, candidates), part.folders[0] / name))
    if not anywhere:
        values.check_inside(part.root, found, values.WAY_OUT)
    return found


def _annotation(
    entry: dict, header: Header, label_of: dict, class_names, log: ProblemLog, place: tuple
) -> Annotation:
    category = entry.get("category_id")
    if type(category) is not int or category not in label_of:
        category = values.identifier(category)
    if category not in label_of:
        raise Unusable(f"unknown class: category id {entry.get('category_id')}")
    if label_of[category] is None:
        raise Unusable(f"ambiguous class: several names are listed with category id {category}")
    class_index = log.class_index(label_of[category], class_names)
    try:
        x, y, box_width, box_height = map(float, entry["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        received = repr(entry.get("bbox"))[:80]
        raise Unusable(f"malformed bbox: expected 4 numbers, received {received}") from None
    box = log.checked_box((x, y, x + box_width, y + box_height), header)
    crowd = values.flag(entry.get("iscrowd"), "iscrowd")
    segmentation = None
    with log.naming(*place):
        segmentation = usable_segmentation(entry.get("segmentation"), header)
    return Annotation(
        box,
        class_index,
        False,
        crowd,
        values.area(entry.get("area")),
        segmentation,
        _own_id(entry),
        _further(entry, "annotations"),
    )


def _own_id(entry: dict) -> int | float | str | None:
    """The id of an annotation as it stands, if it can be one."""
    found = entry.get("id")
    can_be = type(found) in (int, str) or (type(found) is float and math.isfinite(found))
    return found if can_be else None


def _further(entry: dict, part: str) -> dict | None:
    """What an entry says under keys that are not read, for a writer of COCO's form."""
    read = READ[part]
    return None if entry.keys() <= read else {k: v for k, v in entry.items() if k not in read}
