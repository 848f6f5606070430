"""YOLO folders, as Ultralytics reads them: images, a text file of labels for each, and data.yaml.

A line of labels is `class x y width height` (the box's centre and size) or `class x1 y1 x2 y2 ...`
(a polygon around the object), in fractions of the image's width and height.
"""

import os
from collections.abc import Callable, Sequence
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

CONFIGURATIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "obj.data")
CLASS_LISTS = ("classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels")
YAML, LABELS = (".yaml", ".yml"), (".txt",)
# Keys of data.yaml and obj.data whose text is no split.
OTHER_KEYS = (
    *("path", "names", "nc", "download", "channels", "kpt_shape", "flip_idx"),
    *("license", "url", "author", "description", "date", "version", "classes", "backup"),
)
# How YAML says that there is no value.
NOTHING = (None, "", "~", "null", "Null", "NULL")
# Fractions of the image beyond this are taken for pixels.
FARTHEST = 1.5


class Layout(NamedTuple):
    """Where things lie.

    Attributes:
        folder: Path. What images must lie in.
        names: dict. Number of class -> name; None if it is said nowhere.
        splits: dict. Split -> folders of images, and text files that list some.
        is_pose: bool. Key points follow the box in a line of labels.
        notes: tuple of str. What was decided.
    """

    folder: Path
    names: dict[int, str] | None
    splits: dict[str, list[Path]]
    is_pose: bool = False
    notes: tuple[str, ...] = ()


def load_yolo(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads one split of a YOLO folder.

    Without a data.yaml (or the only other YAML file that is like one, or Darknet's obj.data, as
    CVAT writes it), images lie in images/ or images/SPLIT and labels in labels/ beside it, or both
    in SPLIT/; or each text file beside its image, as labelImg leaves them. Paths of another
    machine are looked for by their ends beside data.yaml.

    An image without a file of labels is one without objects. Of a polygon, which becomes the
    object's mask, the box is the one around it. Where classes have no names (no data.yaml, no
    classes.txt), they are called "class 0" and so on; a label may also begin with a class's name.

    Args:
        argument: str. The folder, or a YAML file; with ",images=anywhere" images may lie elsewhere.
        role: str. "train" takes train, "eval" valid, else val, else test.
        split: str or None. A split's name in data.yaml, or its folder's.
        class_names: tuple of str or None. None: all classes in the order of their numbers.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist, or data.yaml cannot be read, or
            contradicts itself.
    """
    place, anywhere = values.split_anywhere(argument)
    layout = _layout(place)
    problem_log.notes += layout.notes
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

    if pictures and not any(picture.source.is_file() for picture in pictures):
        problem_log.notes.append(
            f"{split}: no image has a file of labels, such as {pictures[0].source}: all are read "
            "as images without objects"
        )

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
        return place.suffix.lower() in (*YAML, ".data")
    folders = (place, *split_folders(place).values())
    both = ((f / "images").is_dir() and files_in(f / "labels", LABELS) for f in folders)
    is_flat = bool(_class_lists(place)) and any(map(_is_flat, folders))
    return any(both) or is_flat or bool(_configurations(place))


def _layout(place: Path) -> Layout:
    configurations = [place] if place.is_file() else _configurations(place)
    if len(configurations) > 1:
        raise ValueError(
            f"{place}: each of {', '.join(f.name for f in configurations)} is like a data.yaml; "
            f"name one, as in yolo:{configurations[0]}."
        )
    if configurations:
        return _configured(configurations[0])
    parts = split_folders(place / "images")
    parts |= {k: images for k, f in split_folders(place).items() if (images := _image_folder(f))}
    if not parts and (images := _image_folder(place)):
        parts = {WHOLE: images}
    return Layout(place, _listed_names(place), {split: [folder] for split, folder in parts.items()})


def _image_folder(folder: Path) -> Path | None:
    if (folder / "images").is_dir():
        return folder / "images"
    return folder if _is_flat(folder) else None


def _is_flat(folder: Path) -> bool:
    """Whether some image has its labels beside it."""
    named = {file.stem for file in files_in(folder, LABELS, deep=False)}
    return any(image.stem in named for image in files_in(folder, SUFFIXES, deep=False))


def _class_lists(place: Path) -> list[Path]:
    folders = (place, *split_folders(place).values())
    return [f / name for f in folders for name in CLASS_LISTS if (f / name).is_file()]


def _listed_names(place: Path) -> dict[int, str] | None:
    """The names in a list of classes, one a line. Every list that is there must be the same."""
    lists = {file: _rows(file) for file in _class_lists(place)}
    for file, names in lists.items():
        first = next(iter(lists))
        if names != lists[first]:
            raise ValueError(f"{first} and {file} name different classes, or in another order.")
    return dict(enumerate(next(iter(lists.values())))) if lists else None


def _configurations(folder: Path) -> list[Path]:
    """The data.yaml of a folder, else all files that could be one."""
    named = [folder / name for name in CONFIGURATIONS if (folder / name).is_file()]
    return named[:1] or [f for f in files_in(folder, YAML, deep=False) if _is_configuration(f)]


def _is_configuration(file: Path) -> bool:
    try:
        content = _content(file)
    except (yaml.YAMLError, ValueError, OSError, RecursionError):
        return False
    return not {"names", "nc"}.isdisjoint(content) and not {"train", "val"}.isdisjoint(content)


def _content(file: Path) -> dict:
    """What a configuration says, numbers and words as text: a class may be called `no`."""
    if file.suffix.lower() in YAML:
        content = yaml.load(read_text(file), Loader=yaml.BaseLoader)
        if not isinstance(content, dict):
            raise ValueError(f"expected a mapping, received {content!r:.40}")
        return content
    pairs = [row.partition("=") for row in _rows(file)]
    content = {key.strip(): value.strip() for key, _, value in pairs}
    names, _ = _look_up(content.get("names", "obj.names"), (file.parent,))
    return {**content, "names": _rows(names), "nc": content.get("classes")}


def _configured(file: Path) -> Layout:
    """The layout that a data.yaml tells."""
    try:
        content = _content(file)
        names = _names(content)
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{file}: not the data.yaml of a YOLO folder: {error}") from None
    notes = [] if file.name in CONFIGURATIONS else [f"{file.name} is read as data.yaml"]
    notes += _shared_names(file, names or {})
    folder, path = file.parent, content.get("path")
    bases = (folder if path in NOTHING else _look_up(str(path), (folder,))[0], folder)
    splits = {}
    for split, value in content.items():
        entries = [value] if isinstance(value, str) else value
        if split in OTHER_KEYS or value in NOTHING or not isinstance(entries, list):
            continue
        if entries and all(isinstance(entry, str) for entry in entries):
            found = [_look_up(entry, bases) for entry in entries]
            # Of the others many a data.yaml names what was never exported.
            if split.startswith(("train", "val")) or all(os.path.exists(p) for p, _ in found):
                splits[split] = [place for place, _ in found]
                notes += [
                    f"{file.name}: {entry} is not there, so {split} is read from {place}"
                    for entry, (place, by_end) in zip(entries, found, strict=True)
                    if by_end
                ]
    return Layout(folder, names, splits, "kpt_shape" in content, tuple(notes))


def _names(content: dict) -> dict[int, str] | None:
    """Numbers of classes and their names.

    Raises:
        ValueError: they have another form, or are not as many as are said to be.
    """
    value, count = content.get("names"), values.whole(content.get("nc"))
    if value in NOTHING:
        return None if count is None else {number: f"class {number}" for number in range(count)}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        names = {number: name for number, name in enumerate(value)}
    elif isinstance(value, dict) and all(values.whole(key) is not None for key in value):
        names = {values.whole(key): str(name) for key, name in value.items()}
    else:
        raise ValueError("names must be a list of texts, or a mapping from numbers to them")
    if count not in (None, len(names)):
        raise ValueError(f"it says that there are {count} classes, and names {len(names)}")
    return dict(sorted(names.items()))


def _shared_names(file: Path, names: dict[int, str]) -> list[str]:
    numbers_of: dict[str, list[str]] = {}
    for number, name in names.items():
        numbers_of.setdefault(name, []).append(str(number))
    return [
        f"{file.name}: {name!r} is the name of the classes {', '.join(numbers)}, read as one"
        for name, numbers in numbers_of.items()
        if len(numbers) > 1
    ]


def _look_up(text: str, bases: Sequence[Path]) -> tuple[Path, bool]:
    """The place that a text names, and whether it was found by the end of its path alone.

    Roboflow writes ../train/images for what lies in train/images, and CVAT data/train.txt for
    train.txt. Of a path of another machine the longest end that is there is taken, but not
    images/ alone, in which every split would end.
    """
    plain = text.replace("\\", "/")
    spellings = (text, plain, plain.removeprefix("../"), plain.removeprefix("data/"))
    candidates = [base / spelling for spelling in dict.fromkeys(spellings) for base in bases]
    for place in candidates:
        if os.path.exists(place):
            return place, False
    words = [word for word in plain.split("/") if word not in ("", ".", "..")]
    ends = ["/".join(words[start:]) for start in range(len(words))]
    for place in (base / end for end in ends if end != "images" for base in bases):
        if os.path.exists(place):
            return place, True
    return candidates[0], False


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
            images += _listed(place, layout.folder, log)
        else:
            raise ValueError(f"{layout.folder}: {split} is neither a folder nor a list: {place}")
    return images


def _listed(listing: Path, folder: Path, log: ProblemLog) -> list[tuple[Path, str]]:
    """The images that a text file lists, and their names in results."""
    rows = _rows(listing)
    found = [_look_up(row, (listing.parent, folder)) for row in rows]
    moved = [(row, image) for row, (image, by_end) in zip(rows, found, strict=True) if by_end]
    if moved:
        log.notes.append(
            f"{listing.name}: {len(moved)} of {len(rows)} images are not where it says; they are "
            f"read from elsewhere, as {moved[0][0]} from {moved[0][1]}"
        )
    insides = [image.is_relative_to(folder) for image, _ in found]
    return [
        (image, image.relative_to(folder).as_posix() if inside else image.name)
        for (image, _), inside in zip(found, insides, strict=True)
    ]


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
        if "images" not in parts[:-1] or os.path.isfile(beside):
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
