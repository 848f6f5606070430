"""Values as annotation tools write them: numbers as text, flags as words, ids of any kind."""

import math
import os
from pathlib import Path

from harmonic_tf.training.data.problems import Unusable

Identifier = int | str
FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
LARGEST_ID = 2**53


def identifier(value) -> Identifier:
    """An id as a whole number if it is one, in whatever form, else as text.

    Raises:
        Unusable: it is neither a number nor text.

    Example:
        >>> identifier(7.0), identifier("7"), identifier("img7")
        (7, 7, 'img7')
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unusable(f"malformed id: expected a number or text, received {value!r}")
    number = whole(value)
    same = number is not None and abs(number) < LARGEST_ID
    # "007" is another id than "7".
    return number if same and (not isinstance(value, str) or str(number) == value) else str(value)


def whole(value) -> int | None:
    """A whole number, written in whatever form; None for anything else.

    Example:
        >>> whole("640"), whole(640.0), whole("640.0"), whole("wide"), whole(None)
        (640, 640, 640, None, None)
    """
    try:
        number = float(value)
        if isinstance(value, int):
            return int(value)
        return int(number) if number.is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def flag(value, name: str) -> bool:
    """A yes or no, written in whatever form; what is not said is no.

    Raises:
        Unusable: it is something else.

    Example:
        >>> flag("0", "iscrowd"), flag(1, "iscrowd"), flag(None, "iscrowd")
        (False, True, False)
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    text = str(whole(value) if isinstance(value, float) else value).strip().lower()
    if text not in FLAGS:
        raise Unusable(f"malformed {name}: expected 0 or 1, received {value!r}")
    return FLAGS[text]


def area(value) -> float | None:
    """An area in square pixels; None if it is not said, or no area."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def check_inside(folder: Path, file: Path, way_out: str):
    """Raises `Unusable` if a path that others wrote leads out of the data's folder."""
    inside = os.path.normpath(os.path.abspath(folder))
    if not Path(os.path.normpath(os.path.abspath(file))).is_relative_to(inside):
        raise Unusable(f"file name leads out of the folder: {file}; {way_out}")
