"""Values as annotation tools write them: numbers as text, flags as words, ids of any kind."""

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from harmonic_tf.training.data.problems import Unusable

Identifier = int | str
FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
# What tools write where nothing is said, in lower case.
NOTHING = ("", "0", "none", "false", "unknown", "unspecified")
# Of a kind that results can hold, and of those that a float tells apart.
LARGEST_ID, LARGEST_FLOAT = 2**63, 2**53
# float32 holds it.
LARGEST_AREA = 1e38
# A path of Windows that was joined to one of another system.
DRIVE = re.compile(r"[\\/][A-Za-z]:[\\/]")
# Added to a source's path, it lets file names in it lead out of its folder.
IMAGES, ANYWHERE = ",images=", "anywhere"
WAY_OUT = f"add '{IMAGES}{ANYWHERE}' to the source's name to allow it"


def identifier(value) -> Identifier:
    """An id as a whole number if it is one, in whatever form, else as text.

    Raises:
        Unusable: it is neither a number nor text.

    Example:
        >>> identifier(7.0), identifier("7"), identifier("img7")
        (7, 7, 'img7')
    """
    if type(value) is int and abs(value) < LARGEST_ID:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unusable(f"malformed id: expected a number or text, received {value!r}")
    number = whole(value)
    largest = LARGEST_FLOAT if isinstance(value, float) else LARGEST_ID
    same = number is not None and abs(number) < largest
    # "007" is another id than "7".
    return number if same and (not isinstance(value, str) or str(number) == value) else str(value)


def whole(value) -> int | None:
    """A whole number, written in whatever form; None for anything else.

    Example:
        >>> whole("640"), whole(640.0), whole("640.0"), whole("wide"), whole(None)
        (640, 640, 640, None, None)
    """
    if isinstance(value, int | str):
        with contextlib.suppress(ValueError):
            return int(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def flag(value, name: str) -> bool:
    """A yes or no, written in whatever form; what is not said is no.

    Raises:
        Unusable: it is something else.

    Example:
        >>> flag("0.0", "iscrowd"), flag(1, "iscrowd"), flag(None, "iscrowd")
        (False, True, False)
    """
    if value is None or value in (0, 1):
        return bool(value)
    number = whole(value)
    text = str(value if number is None else number).strip().lower()
    if text not in FLAGS:
        raise Unusable(f"malformed {name}: expected 0 or 1, received {value!r}")
    return FLAGS[text]


def area(value) -> float | None:
    """An area in square pixels; None if it is not said, or no area."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < LARGEST_AREA else None


def further(entry: dict, known: Collection[str], what: str) -> Iterator[str]:
    """What an entry says under other keys than the known ones, which nothing is made of.

    Example:
        >>> entry = {"id": 1, "keypoints": [0, 0, 0], "attributes": {"occluded": True}}
        >>> list(further(entry, ("id",), "annotations"))
        ['attributes of annotations']
    """
    return (f"{key} of {what}" for key, value in entry.items() if key not in known and says(value))


def says(value) -> bool:
    """Whether a value, or one inside of it, is more than zero, false or a word for nothing."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif value is not None and value != 0 and str(value).strip().lower() not in NOTHING:
            return True
    return False


def split_images(argument: str) -> tuple[Path, str]:
    """The path that a source's name gives, and what it says of its images, empty if nothing.

    Example:
        >>> path, images = split_images("cells.json,images=photos")
        >>> str(path), images
        ('cells.json', 'photos')
    """
    path, _, images = argument.partition(IMAGES)
    return Path(path).expanduser(), images


def split_anywhere(argument: str) -> tuple[Path, bool]:
    """The path that a source's name gives, and whether file names may lead out of its folder.

    Raises:
        ValueError: something else is said of images.
    """
    path, images = split_images(argument)
    if images not in ("", ANYWHERE):
        raise ValueError(f"{path}: images must be {ANYWHERE}, received {images!r}.")
    return path, images == ANYWHERE


def check_inside(folder: Path, file: Path, way_out: str):
    """Raises `Unusable` if a path that others wrote leads out of the data's folder."""
    text = str(file)
    if text.startswith(f"{folder}{os.sep}") and ".." not in text and ":" not in text:
        return  # It plainly does not.
    inside, place = (os.path.normcase(os.path.abspath(path)) for path in (folder, file))
    inside = os.path.join(inside, "")
    if DRIVE.search(text) or not os.path.join(place, "").startswith(inside):
        raise Unusable(f"file name leads out of the folder: {file}; {way_out}")
