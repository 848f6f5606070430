"""YOLO folders, as Ultralytics reads them: images, a text file of labels for each, and data.yaml.

A line of labels is `class x y width height` (the box's centre and size) or `class x1 y1 x2 y2 ...`
(a polygon around the object), in fractions of the image's width and height.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.assembly import (
    Picture,
    Region,
    frame,
    numbers,
    samples,
)
from harmonic_tf.training.data.formats.listing import files_in, finder
from harmonic_tf.training.data.formats.roles import WHOLE, pick_split, split_folders
from harmonic_tf.training.data.images import SUFFIXES, Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.validation import ProblemLog
from harmonic_tf.training.files import read_text

CONFIGURATIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASS_LISTS = ("classes.txt", "labels/classes.txt", "obj.names")
LABELS = (".txt",)
# Keys of data.yaml whose text is no split.
OTHER_KEYS = ("path", "names", "download", "channels", "license", "url", "author", "description")
# Fractions of the image beyond this are taken for pixels.
FARTHEST = 1.5


class Layout(NamedTuple):
    """Where things lie.

    Attributes:
        folder: Path. What images must lie in.
        names: dict. Number of class -> name; None if it is said nowhere.
        splits: dict. Split -> folders of images, and text files that list some.
        is_pose: bool. Key points follow the box in a line of labels.
    """

    folder: Path
    names: dict[int, str] | None
    splits: dict[str, list[Path]]
    is_pose: bool = False


def load_yolo(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads one split of a YOLO folder.

    Without a data.yaml, images lie in images/ or images/SPLIT and labels in labels/ beside it, or
    both in SPLIT/. An image without a file of labels is one without objects. Of a polygon, which
    becomes the object's mask, the box is the one around it. Where classes have no names (no
    data.yaml, no classes.txt), they are called "class 0" and so on; a label may also begin with a
    class's name.

    Args:
        argument: str. The folder, or a YAML file; with ",images=anywhere" images may lie elsewhere.
        role: str. "train" takes train, "eval" valid, else val, else test.
        split: str or None. A split's name in data.yaml, or its folder's.
        class_names: tuple of str or None. None: all classes in the order of their numbers.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist, or data.yaml cannot be read.
    """
    place, anywhere = values.split_anywhere(argument)
    layout = _layout(place)
    if not anywhere:
        _check_inside(layout)
    split = pick_split(layout.splits, role, split, place)
    labels_of = _label_finder()
    if layout.names is None:
        layout = layout._replace(names=_found_names(layout, labels_of))
    class_names = class_names or tuple(dict.fromkeys(layout.names.values()))
    pictures = []
    for image, name in _images(layout, split, labels_of, problem_log):
        labels = labels_of(image)
        with problem_log.naming(labels):
            if not anywhere:
                values.check_inside(layout.folder, image, values.WAY_OUT)
            pictures.append(Picture(name, image, labels, None, _lines(labels)))

    def region_of(line: list[str], header: Header) -> Region:
        return _region(line, header, layout)

    return DetectionData(
        name=layout.folder.resolve().name,
        split=split,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=samples(pictures, region_of, class_names, problem_log),
        splits=tuple(layout.splits),
    )


def is_yolo(place: Path) -> bool:
    """Whether a path looks like one of these."""
    if place.is_file():
        return place.suffix.lower() in (".yaml", ".yml")
    both = [(f / "images").is_dir() and (f / "labels").is_dir() for f in (place, *_parts(place))]
    return any(both) or any((place / name).is_file() for name in CONFIGURATIONS)


def _parts(place: Path) -> list[Path]:
    return list(split_folders(place).values())


def _layout(place: Path) -> Layout:
    if place.is_file():
        return _configured(place)
    for name in CONFIGURATIONS:
        if (place / name).is_file():
            return _configured(place / name)
    parts = split_folders(place / "images")
    parts |= {k: f / "images" for k, f in split_folders(place).items() if (f / "images").is_dir()}
    if not parts and (place / "images").is_dir():
        parts = {WHOLE: place / "images"}
    lists = [place / name for name in CLASS_LISTS if (place / name).is_file()]
    names = dict(enumerate(_rows(lists[0]))) if lists else None
    return Layout(place, names, {split: [folder] for split, folder in parts.items()})


def _configured(file: Path) -> Layout:
    """The layout that a data.yaml tells."""
    try:
        content = yaml.safe_load(read_text(file))
        if not isinstance(content, dict):
            raise ValueError(f"expected a mapping, received a {type(content).__name__}")
        names = _names(content.get("names"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{file}: not the data.yaml of a YOLO folder: {error}") from None
    folder = file.parent
    bases = (folder / str(content.get("path") or ""), folder)
    splits = {}
    for split, value in content.items():
        entries = [value] if isinstance(value, str) else value
        if split in OTHER_KEYS or not isinstance(entries, list) or not entries:
            continue
        if all(isinstance(entry, str) for entry in entries):
            places = [_place(entry, bases) for entry in entries]
            # Of the others many a data.yaml names what was never exported.
            if str(split).startswith(("train", "val")) or all(map(os.path.exists, places)):
                splits[str(split)] = places
    return Layout(folder, names, splits, "kpt_shape" in content)


def _names(value) -> dict[int, str] | None:
    if value is None:
        return None
    if isinstance(value, list):
        return {number: str(name) for number, name in enumerate(value)}
    if isinstance(value, dict) and all(values.whole(key) is not None for key in value):
        return {number: str(value[key]) for number, key in sorted((int(k), k) for k in value)}
    raise ValueError("names must be a list, or a mapping from numbers to names")


def _place(entry: str, bases) -> Path:
    """Where a split's images lie. Roboflow writes ../train/images for what lies in train/images."""
    spellings = (entry, entry.removeprefix("../"))
    candidates = [base / spelling for spelling in spellings for base in bases]
    return next((place for place in candidates if os.path.exists(place)), candidates[0])


def _check_inside(layout: Layout):
    """Raises `Unusable` if a folder that is there lies elsewhere; nothing is looked for in it."""
    for place in (place for places in layout.splits.values() for place in places):
        if os.path.exists(place):
            values.check_inside(layout.folder, place, values.WAY_OUT)


def _images(
    layout: Layout, split: str, labels_of: Callable[[Path], Path], log: ProblemLog
) -> list[tuple[Path, str]]:
    """A split's images, and their names in results."""
    images = []
    for place in layout.splits[split]:
        if os.path.isdir(place):
            found = files_in(place, SUFFIXES)
            images += [(image, image.relative_to(place).as_posix()) for image in found]
            _name_labels_alone(place, found, labels_of, log)
        elif os.path.isfile(place):
            images += [_listed(row, place, layout.folder) for row in _rows(place)]
        else:
            raise ValueError(f"{layout.folder}: {split} is neither a folder nor a list: {place}")
    return images


def _listed(row: str, listing: Path, folder: Path) -> tuple[Path, str]:
    candidates = [base / row for base in (listing.parent, folder)]
    image = next((file for file in candidates if os.path.isfile(file)), candidates[0])
    inside = image.is_relative_to(folder)
    return image, image.relative_to(folder).as_posix() if inside else image.name


def _name_labels_alone(
    place: Path, images: list[Path], labels_of: Callable[[Path], Path], log: ProblemLog
):
    """Names the labels whose image is missing."""
    folder = labels_of(place / "image").parent
    expected = {labels_of(image) for image in images}
    if folder != place:
        for labels in files_in(folder, LABELS):
            if labels not in expected and labels.name not in CLASS_LISTS:
                log.add(labels, None, "missing image file")


def _label_finder() -> Callable[[Path], Path]:
    """A function: image -> its labels: in labels/ instead of its last images/, else beside it."""
    file_of = finder(LABELS)

    def find(image: Path) -> Path:
        beside, parts = file_of(image.with_suffix("")), list(image.parts)
        if "images" not in parts[:-1] or beside.is_file():
            return beside
        last = len(parts) - 2 - parts[-2::-1].index("images")
        return file_of(Path(*parts[:last], "labels", *parts[last + 1 :]).with_suffix(""))

    return find


def _found_names(layout: Layout, labels_of: Callable[[Path], Path]) -> dict[int, str]:
    """Names for the classes that occur: by number, or those that the labels begin with."""
    silent = ProblemLog()
    images = [
        image for split in layout.splits for image, _ in _images(layout, split, labels_of, silent)
    ]
    first = {line[0] for image in images for line in _known_lines(labels_of(image))}
    known = [number for number in map(values.whole, first) if number is not None]
    texts = sorted(word for word in first if values.whole(word) is None)
    numbered = {number: f"class {number}" for number in range(max(known, default=-1) + 1)}
    return numbered | {len(numbered) + place: word for place, word in enumerate(texts)}


def _known_lines(labels: Path) -> list[list[str]]:
    """Those of a file that can be read; the others are named when it is its turn."""
    try:
        return _lines(labels)
    except Unusable:
        return []


def _lines(labels: Path) -> list[list[str]]:
    try:
        return [row.split() for row in _rows(labels)] if labels.exists() else []
    except (OSError, ValueError) as error:
        raise Unusable(f"unreadable annotation file: {error}") from None


def _rows(file: Path) -> list[str]:
    return [row.strip() for row in read_text(file).splitlines() if row.strip()]


def _region(line: list[str], header: Header, layout: Layout) -> Region:
    label = _label(line[0], layout.names)
    values_ = numbers(line[1:5] if layout.is_pose else line[1:])
    if len(values_) != 4 and (len(values_) < 6 or len(values_) % 2):
        raise Unusable(
            "malformed label: expected a class and 4 numbers, or x and y of 3 points or more; "
            f"received {len(values_)} numbers"
        )
    if any(abs(value) > FARTHEST for value in values_):
        raise Unusable("coordinates in pixels: expected fractions of the image's width and height")
    width, height = header.width, header.height
    if len(values_) == 4:
        x, y, w, h = values_
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        return Region(
            label, tuple(c * s for c, s in zip(corners, 2 * (width, height), strict=True))
        )
    polygon = [value * (height if place % 2 else width) for place, value in enumerate(values_)]
    return Region(label, frame([polygon]), [polygon])


def _label(word: str, names: dict[int, str]) -> str:
    number = values.whole(word)
    if number is None:
        return word
    if number not in names:
        raise Unusable(f"unknown class: number {number}")
    return names[number]
