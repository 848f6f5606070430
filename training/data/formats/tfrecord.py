"""TFRecord files with the features of TensorFlow's Object Detection API; Model Garden reads them.

https://github.com/tensorflow/models/blob/master/research/object_detection/data_decoders/
"""

import collections
import functools
import glob
import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.assembly import Picture, Region, samples
from harmonic_tf.training.data.formats.listing import files_in
from harmonic_tf.training.data.formats.roles import NAMES, WHOLE, pick_split, split_folders
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.validation import ProblemLog
from harmonic_tf.training.files import read_text
from harmonic_tf.training.rle import runs

SUFFIXES = re.compile(r"^(?!\._).*\.(tfrecords?|records?)(-\d+-of-\d+)?$", re.IGNORECASE)
SHARD = re.compile(r"-\d+-of-(\d+)$")
LABEL_MAPS = (".pbtxt", ".pbtxt.txt")
LABEL = re.compile(r"""\b(name|display_name)\s*:\s*(["'])(.*?)\2""")
GZIP = b"\x1f\x8b"
# Its length and the length's checksum stand before a record, its own checksum behind it.
BEFORE, BEHIND = 12, 4
CORNERS = ("xmin", "ymin", "xmax", "ymax")
OBJECT = "image/object/"


class Place(NamedTuple):
    """Where a record lies."""

    file: Path
    start: int
    length: int


class Entry(NamedTuple):
    """One object: its values by the names of their features, without "image/object/"."""

    values: dict


def load_tfrecord(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads the records of some files; images stay there until a batch needs them.

    The features are image/encoded, image/filename, image/height, image/width and, of objects,
    image/object/bbox/xmin (ymin, xmax, ymax; fractions of the image), image/object/class/text or
    /label, and, where there are some, image/object/difficult, /is_crowd, /area and /mask (PNG).
    Labels without a text are named by a label map (`*.pbtxt`) beside the files, else by their
    numbers, such as "class 3".

    Args:
        argument: str. A file, a pattern, or a folder of files named .tfrecord or .record, with or
            without -00000-of-00010, or of folders train, valid and test of such files.
        role: str. Of several files, picks those in whose names, or folders' names, a word begins
            as a split's.
        split: str or None. "train", "valid", "val" or "test".
        class_names: tuple of str or None. None: in the order of their numbers, else sorted.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: there is no such file, or no such split.
    """
    files = _files(argument)
    splits: dict[str, list[Path]] = {}
    is_one = Path(argument).expanduser().is_file()
    are_parted = len({file.parent for file in files}) > 1
    for file in files:
        split_of_file = WHOLE if is_one else _split_of(file, are_parted)
        splits.setdefault(split_of_file, []).append(file)
    split = pick_split(splits, role, split, argument)
    problem_log.notes += _missing_shards(splits[split])
    label_map = _label_map(files[0].parent) if files else {}
    pictures, labels = [], dict(label_map)
    for name, members in splits.items():
        if name == split or (class_names is None and not label_map):
            log = problem_log if name == split else ProblemLog()
            found = [p for file in members for p in _pictures(file, label_map, log)]
            pictures = found if name == split else pictures
            labels |= dict(_labels(entry, label_map) for p in found for entry in p.entries)
    if class_names is None:
        numbered = all(isinstance(key, int) for key in labels)
        ordered = [labels[key] for key in sorted(labels)] if numbered else sorted(labels.values())
        class_names = tuple(dict.fromkeys(ordered))

    def region_of(entry: Entry, header: Header) -> Region:
        return _region(entry, header, label_map)

    return DetectionData(
        name=files[0].resolve().parent.name,
        split=split,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=samples(pictures, region_of, class_names, problem_log),
        splits=tuple(splits),
    )


def is_tfrecord(place: Path) -> bool:
    """Whether a path looks like one of these."""
    if place.is_dir():
        return bool(_files(str(place)))
    return bool(SUFFIXES.search(place.name))


def _files(argument: str) -> list[Path]:
    place = Path(argument).expanduser()
    if place.is_dir():
        folders = [place] if _records_in(place) else split_folders(place).values()
        return [file for folder in folders for file in _records_in(folder)]
    return sorted(Path(name) for name in glob.glob(str(place)) if os.path.isfile(name))


def _records_in(folder: Path) -> list[Path]:
    files = folder.iterdir() if os.access(folder, os.R_OK | os.X_OK) else ()
    return sorted(file for file in files if SUFFIXES.search(file.name))


def _split_of(file: Path, are_parted: bool) -> str:
    """The word of a file's name that begins as a split's does, else of its folder's if files lie
    in several, as Roboflow's."""
    beginnings = tuple(name for names in NAMES.values() for name in names)
    text = f"{file.name}/{file.parent.name}" if are_parted else file.name
    words = re.split(r"[^a-z0-9]+", text.lower())
    return next((word for word in words if word.startswith(beginnings)), WHOLE)


def _missing_shards(files: list[Path]) -> list[str]:
    """A sentence on each name with -of-00010 of which not as many files are there."""
    shards = [(file, shard) for file in files if (shard := SHARD.search(file.name))]
    counts = collections.Counter((file.name[: s.start()], int(s[1])) for file, s in shards)
    return [
        f"{name}: {there} of {count} files are read"
        for (name, count), there in counts.items()
        if there < count
    ]


def _label_map(folder: Path) -> dict[int, str]:
    """Number -> name of each item of a label map: `item { id: 1 name: 'cat' }`.

    A `display_name` goes before: COCO's and Open Images' have codes as names, such as /m/01yrx.
    """
    files = files_in(folder, LABEL_MAPS, deep=False)
    found = {}
    for item in re.findall(r"item\s*\{(.*?)\}", read_text(files[0]) if files else "", re.DOTALL):
        number = re.search(r"\bid\s*:\s*(\d+)", item)
        names = {key: name for key, _, name in re.findall(LABEL, item) if name}
        if number and names:
            found[int(number[1])] = names.get("display_name", names.get("name"))
    return found


def _places(file: Path) -> Iterator[Place]:
    """Where the records of a file lie.

    Raises:
        Unusable: it ends within a record, or is no such file; after those before.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = 0
        while start < size:
            before = stream.read(BEFORE)
            if before.startswith(GZIP):
                raise Unusable("compressed by gzip, which cannot be read from any place: unpack it")
            length = struct.unpack("<Q", before[:8])[0] if len(before) == BEFORE else size
            if start + BEFORE + length + BEHIND > size:
                raise Unusable(f"not a TFRecord file, or not all of it, from byte {start} on")
            yield Place(file, start + BEFORE, length)
            start += BEFORE + length + BEHIND
            stream.seek(start)


def _records(file: Path) -> Iterator[tuple[Place, bytes]]:
    """The records of a file, whose checksums TensorFlow compares.

    Raises:
        Unusable: it is damaged from some record on; after those before.
    """
    import tensorflow as tf

    contents = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    for number, place in enumerate(_places(file), 1):
        try:
            yield place, next(contents)
        except tf.errors.DataLossError:
            raise Unusable(
                f"damaged records: the checksum of record {number} is wrong; it and all behind it "
                "in this file are left out"
            ) from None


def _features(content: bytes) -> dict[str, list]:
    """A record's features by their names.

    Raises:
        Unusable: it is no tf.train.Example.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(content).features.feature
    except DecodeError:
        raise Unusable("malformed record: not a tf.train.Example") from None
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: list(getattr(features[name], k).value) for name, k in kinds.items() if k}


def _pictures(file: Path, label_map: dict, log: ProblemLog) -> list[Picture]:
    pictures = []
    with log.naming(file):
        for number, (place, content) in enumerate(_records(file), 1):
            with log.naming(file, f"record {number}"):
                pictures.append(_picture(place, content, number))
    return pictures


def _picture(place: Place, content: bytes, number: int) -> Picture:
    features = _features(content)
    if not features.get("image/encoded"):
        raise Unusable("malformed record: no image/encoded")
    name = _text(features, "image/filename") or _text(features, "image/source_id")
    name = name or f"{place.file.name}_{number}"
    size = tuple(
        values.whole(next(iter(features.get(f"image/{side}", ())), None))
        for side in ("height", "width")
    )
    read = functools.partial(_encoded, place)
    return Picture(name, read, place.file, f"record {number}", _entries(features), size)


def _text(features: dict, name: str) -> str:
    value = next(iter(features.get(name, ())), b"")
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _encoded(place: Place) -> bytes:
    with place.file.open("rb") as stream:
        stream.seek(place.start)
        return _features(stream.read(place.length))["image/encoded"][0]


def _entries(features: dict) -> list[Entry]:
    """One entry an object; features of another length than the boxes' are not those of objects."""
    count = len(features.get(f"{OBJECT}bbox/xmin", ()))
    if any(len(features.get(f"{OBJECT}bbox/{corner}", ())) != count for corner in CORNERS):
        raise Unusable("malformed record: xmin, ymin, xmax and ymax are not equally many")
    named = {
        name.removeprefix(OBJECT): column
        for name, column in features.items()
        if name.startswith(OBJECT) and len(column) == count
    }
    return [Entry({name: column[n] for name, column in named.items()}) for n in range(count)]


def _labels(entry: Entry, label_map: dict) -> tuple[int | str, str]:
    """An object's class by its number, if it has one, and its name."""
    number, text = entry.values.get("class/label"), entry.values.get("class/text")
    name = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else ""
    name = name or label_map.get(number) or f"class {number}"
    return (name if number is None else number), name


def _region(entry: Entry, header: Header, label_map: dict) -> Region:
    found = entry.values
    if found.get("class/label") is None and not found.get("class/text"):
        raise Unusable("malformed record: object without class/text and class/label")
    scale = 2 * (header.width, header.height)
    corners = [float(found[f"bbox/{corner}"]) for corner in CORNERS]
    # To a thousandth of a pixel: what float32 fractions keep of whole pixels.
    box = tuple(round(c * s, 3) for c, s in zip(corners, scale, strict=True))
    return Region(
        _labels(entry, label_map)[1],
        box,
        _mask(found.get("mask")),
        difficult=bool(found.get("difficult", False)),
        crowd=bool(found.get("is_crowd", False)),
        area=values.area(found.get("area")),
    )


def _mask(encoded: bytes | None) -> dict | None:
    """The RLE of a mask that is a PNG; of one that cannot be read, one that is named later."""
    if not encoded:
        return None
    try:
        with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
            return runs(np.asarray(image.convert("L")) > 0)
    except Exception:  # Pillow raises whatever the broken bytes lead it to.
        return {"size": [0, 0], "counts": [0]}
