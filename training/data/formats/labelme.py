"""LabelMe folders: a JSON file for each image, which may hold the image itself."""

import base64
import binascii
import functools
import math
import os
import re
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats import values
from harmonic_tf.training.data.formats.assembly import Picture, Region, frame, samples
from harmonic_tf.training.data.formats.listing import files_in, name_unlabelled
from harmonic_tf.training.data.formats.roles import WHOLE, pick_split, split_folders
from harmonic_tf.training.data.images import SUFFIXES, Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.text import begins_with, read_json
from harmonic_tf.training.data.validation import ProblemLog

JSON = (".json",)
# A polygon in place of a circle stays this close to it, in pixels.
CIRCLE_TOLERANCE = 0.25
# A folder is recognised by one of so many files.
FILES_TRIED = 10
SHAPES = re.compile(rb'"shapes"\s*:\s*\[')


class Shape(NamedTuple):
    """One object: a label, and the shapes drawn for it (several of one label and group)."""

    label: str
    shapes: list[dict]


def load_labelme(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Reads the JSON files of a folder, and of those inside of it.

    Rectangles (and masks) become boxes; polygons and circles become boxes with a mask. Shapes of
    the same label and group are one object. Points and lines are no objects, and are named. An
    image is the file that its JSON names, else the one that the JSON holds.

    Args:
        argument: str. The folder; with ",images=anywhere" images may lie elsewhere.
        role: str. Picks one of the folders train, valid, val and test inside of it, if there are
            such.
        split: str or None. The name of one of them.
        class_names: tuple of str or None. None: all labels in the folder, sorted.
        problem_log: ProblemLog. Problems are added here.

    Returns:
        DetectionData. Image ids are indices into `data.image_names`.

    Raises:
        ValueError: the folder or the split does not exist.
    """
    root, anywhere = values.split_anywhere(argument)
    folders = split_folders(root) or ({WHOLE: root} if root.is_dir() else {})
    split = pick_split(folders, role, split, root)
    pictures, labels = [], set()
    for name, folder in folders.items():
        log = problem_log if name == split else ProblemLog()
        for file in files_in(folder, JSON):
            with log.naming(file):
                picture = _picture(file, root, anywhere)
                labels |= {shape.label for shape in picture.entries}
                if name == split:
                    pictures.append(picture)
    name_unlabelled(_unlabelled(folders[split], pictures), problem_log)
    class_names = class_names or tuple(sorted(labels - {""}))
    return DetectionData(
        name=root.resolve().name,
        split=split,
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        records=samples(pictures, _region, class_names, problem_log),
        splits=tuple(folders),
    )


def is_labelme(place: Path) -> bool:
    """Whether a path looks like one of these: one of its first JSON files begins like it."""
    places = (place, place / "labels", *split_folders(place).values())
    files = [file for folder in places for file in files_in(folder, JSON, deep=False)]
    return any(begins_with(file, SHAPES) for file in files[:FILES_TRIED])


def _picture(file: Path, root: Path, anywhere: bool) -> Picture:
    content = _read(file)
    # Windows writes folder\file.
    named = PureWindowsPath(str(content.get("imagePath") or file.with_suffix(".jpg").name))
    image = file.parent / named.as_posix()
    if not image.is_file() and content.get("imageData"):
        image = functools.partial(_embedded, file)
    elif not anywhere:
        values.check_inside(root, image, values.WAY_OUT)
    size = tuple(values.whole(content.get(key)) for key in ("imageHeight", "imageWidth"))
    return Picture(named.name, image, file, None, _objects(content["shapes"]), size)


def _unlabelled(folder: Path, pictures: list[Picture]) -> list[Path]:
    """The images in a folder that no JSON file names, by its content or by its own name."""
    named = {os.path.normpath(p.encoded) for p in pictures if isinstance(p.encoded, Path)}
    beside = {file.with_suffix("") for file in files_in(folder, JSON)}
    return [
        image
        for image in files_in(folder, SUFFIXES)
        if os.path.normpath(image) not in named and image.with_suffix("") not in beside
    ]


def _read(file: Path) -> dict:
    try:
        content = read_json(file)
    except (ValueError, OSError) as error:
        raise Unusable(f"malformed JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise Unusable("malformed JSON: no list 'shapes'")
    return content


def _embedded(file: Path) -> bytes:
    """The image that a JSON file holds."""
    try:
        return base64.b64decode(_read(file)["imageData"])
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise Unusable("unreadable image file: imageData is not base64") from None


def _objects(shapes: list) -> list[Shape]:
    """Shapes of one label and group together, in the order of their first ones."""
    objects: dict = {}
    for number, shape in enumerate(shapes):
        shape = shape if isinstance(shape, dict) else {}
        label, group = str(shape.get("label") or "").strip(), shape.get("group_id")
        key = number if group is None else (label, str(group))
        objects.setdefault(key, Shape(label, [])).shapes.append(shape)
    return list(objects.values())


def _region(entry: Shape, header: Header) -> Region:
    if not entry.label:
        raise Unusable("malformed JSON: shape without a label")
    outlines = [_outline(shape) for shape in entry.shapes]
    boxes = [shape.get("shape_type") in ("rectangle", "mask") for shape in entry.shapes]
    return Region(entry.label, frame(outlines), None if any(boxes) else outlines)


def _outline(shape: dict) -> list[float]:
    """The corners [x1, y1, x2, y2, ...] of a shape; of a rectangle two of them."""
    kind = shape.get("shape_type") or "polygon"
    try:
        points = [(float(x), float(y)) for x, y in shape.get("points") or ()]
    except (TypeError, ValueError, OverflowError):
        raise Unusable("malformed points: expected pairs of numbers") from None
    expected = {"rectangle": (2, 4), "mask": (2, 2), "circle": (2, 2), "polygon": (3, math.inf)}
    if kind not in expected:
        raise Unusable(f"shape without an area: {kind}")
    least, most = expected[kind]
    if not least <= len(points) <= most:
        raise Unusable(f"malformed points: {len(points)} of a {kind}")
    return [
        value for point in (_circle(*points) if kind == "circle" else points) for value in point
    ]


def _circle(centre, edge) -> list[tuple[float, float]]:
    """A polygon in place of the circle around a point through another one."""
    radius = math.dist(centre, edge)
    if not 0 < radius < math.inf:
        raise Unusable(f"malformed points: circle of radius {radius:g}")
    corner = math.acos(max(0.0, 1 - CIRCLE_TOLERANCE / radius))
    # A multiple of four, so that the box around it is that of the circle.
    count = 4 * max(3, math.ceil(math.pi / corner / 4))
    angles = [2 * math.pi * step / count for step in range(count)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
