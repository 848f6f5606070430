"""What makes ground truth unusable, and the list in which it is named."""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from harmonic_tf.training.data.dataset import Problem

# Standing out of the image by this much is a habit of annotation tools, not worth a note.
CLIP_TOLERANCE = 1.0
END_OF_JPEG = b"\xff\xd9"


class Unusable(ValueError):
    """A reason to leave out one object or one image. Becomes a `Problem` in `ProblemLog`.

    Attributes:
        file: the file at fault, if it is another one than is being read.
    """

    def __init__(self, reason: str, file=None):
        super().__init__(reason)
        self.file = file


class Header(NamedTuple):
    """What the beginning of an image's file tells of it; sizes are in pixels."""

    height: int
    width: int
    is_jpeg: bool


class ProblemLog:
    """Collects, while a source is read, what in it cannot be used."""

    def __init__(self):
        self.problems: list[Problem] = []
        self.clipped = 0

    def add(self, file, object_name: str | None, reason: str):
        """Notes one problem."""
        self.problems.append(Problem(str(file), object_name, reason))

    @contextlib.contextmanager
    def naming(self, file, object_name: str | None = None) -> Iterator[None]:
        """Turns an `Unusable` raised inside into a problem of this file and object."""
        try:
            yield
        except Unusable as error:
            self.add(error.file or file, object_name, str(error))

    def checked_box(self, box: Sequence[float], header: Header):
        """The box cut at the image's border.

        Args:
            box: 4 floats, (x1, y1, x2, y2) in pixels.
            header: Header of the image.

        Returns:
            tuple of 4 floats.

        Raises:
            Unusable: it is not finite, inverted, without area, or wholly outside the image.
        """
        check_corners(box)
        height, width, _ = header
        x1, y1, x2, y2 = box
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise Unusable(f"box outside the image: {_text(box)} in {width} x {height} px")
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        self.clipped += max(abs(a - b) for a, b in zip(box, inside, strict=True)) > CLIP_TOLERANCE
        return inside


def check_size(header: Header, height: int | None, width: int | None):
    """Raises `Unusable` if annotations were made for an image of another size (None, 0: not said).

    Their boxes then belong to a scaled or turned version of the image.
    """
    if height and width and (height, width) != (header.height, header.width):
        raise Unusable(
            f"size in the annotations is not the image's: {width} x {height} px, "
            f"the image has {header.width} x {header.height} px"
        )


def check_corners(box: Sequence[float]):
    """Raises `Unusable` if a box (x1, y1, x2, y2) is not finite, inverted or without area."""
    x1, y1, x2, y2 = box
    if not np.isfinite(box).all():
        raise Unusable(f"box is not finite: {_text(box)}")
    if x2 < x1 or y2 < y1:
        raise Unusable(f"inverted box: {_text(box)}")
    if x2 == x1 or y2 == y1:
        raise Unusable(f"box of zero area: {_text(box)}")


def _text(box: Sequence[float]) -> str:
    return "(x1, y1, x2, y2) = ({:g}, {:g}, {:g}, {:g})".format(*box)


def read_header(encoded: Path | bytes) -> Header:
    """Size and form of an encoded image, after a look whether all of it is there.

    Nothing is decoded. A whole JPEG ends with the marker FF D9. If the last two bytes are another
    thing, either something was appended to the file or it was cut short; the marker is then looked
    for behind the start of the compressed data, where those two bytes can mean nothing else. (The
    header may hold a thumbnail with a marker of its own.) A whole PNG ends with the chunk IEND.

    Args:
        encoded: file, or its bytes.

    Returns:
        Header.

    Raises:
        Unusable: no such file, not an image that TensorFlow decodes, or truncated.
    """
    file = encoded if isinstance(encoded, Path) else None
    try:
        with io.BytesIO(encoded) if file is None else file.open("rb") as stream:
            with Image.open(stream) as image:
                kind, (width, height) = image.format, image.size
            whole = _is_whole(stream, kind)
    except FileNotFoundError:
        raise Unusable("missing image file", file) from None
    except OSError as error:  # What Pillow raises is an OSError too.
        raise Unusable(f"unreadable image file: {error}", file) from None
    if kind not in ("JPEG", "PNG", "BMP", "GIF"):
        raise Unusable(f"image format not supported: {kind}", file)
    if not whole:
        raise Unusable("truncated image file", file)
    return Header(height, width, kind == "JPEG")


def _is_whole(stream, kind: str) -> bool:
    """Whether an encoded image has its end."""
    if kind not in ("JPEG", "PNG"):
        return True
    stream.seek(-12, os.SEEK_END)
    ending = stream.read()
    if kind == "PNG":
        return b"IEND" in ending
    if ending.endswith(END_OF_JPEG):
        return True
    stream.seek(0)
    content = stream.read()
    return content.find(END_OF_JPEG, _jpeg_scan_start(content)) >= 0


def _jpeg_scan_start(content: bytes) -> int:
    """Where a JPEG's first compressed scan starts: marker FF DA, found by hopping over segments."""
    position = 2
    while position + 4 <= len(content) and content[position + 1] != 0xDA:
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return position


def unique(entries: Iterable, problem_log: ProblemLog, file, key: Callable = lambda e: e) -> list:
    """The entries with an id of their own, in order; every further use of an id is a problem."""
    first_place: dict = {}
    kept = []
    for place, entry in enumerate(entries, 1):
        identifier = key(entry)
        if identifier in first_place:
            places = f"entries {first_place[identifier]} and {place}"
            problem_log.add(file, None, f"id listed twice: {identifier!r}, {places}")
        else:
            first_place[identifier] = place
            kept.append(entry)
    return kept


def problem_report(problems: Sequence[Problem], limit: int | None = None) -> str:
    """Problems as text: grouped by kind with their counts, each named with file and object.

    Args:
        problems: sequence of Problem.
        limit: int or None. Name only so many of them.

    Returns:
        str, empty if there are no problems.

    Example:
        >>> print(problem_report([Problem("a.xml", "object 2", "inverted box: (9, 1, 2, 4)")]))
        inverted box (1)
          a.xml, object 2: inverted box: (9, 1, 2, 4)
    """
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.kind, []).append(problem)
    lines, named = [], 0
    for kind, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"{kind} ({len(members)})")
        shown = members if limit is None else members[: max(0, limit - named)]
        lines += [f"  {problem}" for problem in shown]
        named += len(shown)
        if len(shown) < len(members):
            lines.append(f"  ... and {len(members) - len(shown)} more")
    return "\n".join(lines)
