"""What makes ground truth unusable: boxes, sizes and ids, and the log of what was found."""

import collections
import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from harmonic_tf.training.data.dataset import Annotation, Objects
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Problem, Unusable

# Standing out of the image by this much is a habit of annotation tools, not worth a note.
CLIP_TOLERANCE = 1.0
# As a share of the image's side: float32 tells numbers apart that differ by a tenth of this.
SURELY_APART = 1e-6


@dataclasses.dataclass(slots=True)
class _Naming:
    """What `ProblemLog.naming` enters; generators would cost seconds for a million objects."""

    log: "ProblemLog"
    file: object
    object_name: str | Callable[[], str] | None

    def __enter__(self):
        pass

    def __exit__(self, kind, error, trace) -> bool:
        if not isinstance(error, Unusable):
            return False
        name = self.object_name() if callable(self.object_name) else self.object_name
        self.log.add(error.file or self.file, name, str(error))
        return True


class ProblemLog:
    """Collects, while a source is read, what in it cannot be used, and notes on it."""

    def __init__(self):
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.clipped = 0
        self.unread: collections.Counter = collections.Counter()
        self.carried: collections.Counter = collections.Counter()
        self.other_classes: collections.Counter = collections.Counter()
        self._image: Path | None = None
        self._before = (0, 0)

    def add(self, file, object_name: str | None, reason: str):
        """Notes one problem, of the image at hand."""
        self.problems.append(Problem(str(file), object_name, reason, self._image))

    def naming(self, file, object_name: str | Callable[[], str] | None = None) -> "_Naming":
        """Turns an `Unusable` raised inside into a problem of this file and object.

        A name may be a function, called where there is a problem.
        """
        return _Naming(self, file, object_name)

    @contextlib.contextmanager
    def of_image(self, encoded) -> Iterator[None]:
        """Lets problems noted inside say which image they are of, if that is a file."""
        self._image = encoded if isinstance(encoded, Path) else None
        self._before = (len(self.problems), self.other_classes.total())
        try:
            yield
        finally:
            self._image = None

    def objects(self, annotations: Sequence[Annotation]) -> Objects:
        """The objects of the image at hand.

        Raises:
            Unusable: it has some, and all are bad: it is no image without objects. (One with
                objects of other classes alone is.)
        """
        problems, other_classes = self._before
        bad = len(self.problems) - problems - self.other_classes.total() + other_classes
        if bad and not annotations:
            raise Unusable(f"no usable object: {bad} bad, and no other in this image")
        return Objects.of(annotations)

    def class_index(self, label: str, class_names: Sequence[str]) -> int:
        """The index of an object's class.

        Raises:
            Unusable: it is none of the names.
        """
        try:
            return class_names.index(label)
        except ValueError:
            self.other_classes[label] += 1
            raise Unusable(f"unknown class: {label!r}") from None

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
        height, width = header.height, header.width
        x1, y1, x2, y2 = box
        wide = 0 <= x1 and x1 + SURELY_APART * width < x2 <= width
        if wide and 0 <= y1 and y1 + SURELY_APART * height < y2 <= height:
            return x1, y1, x2, y2
        check_corners(box)
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise Unusable(f"box outside the image: {_text(box)} in {width} x {height} px")
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        check_corners(np.float32(inside))  # as it is kept
        self.clipped += max(abs(a - b) for a, b in zip(box, inside, strict=True)) > CLIP_TOLERANCE
        return inside


def check_size(header: Header, height: int | None, width: int | None):
    """Raises `Unusable` if annotations were made for an image of another size (None, 0: not said).

    Their boxes then belong to a scaled or turned version of the image.
    """
    if not (height and width) or (height, width) == (header.height, header.width):
        return
    if (height, width) == header.stored_size:
        raise Unusable(
            f"size in the annotations is that of the pixels before they are turned: {width} x "
            f"{height} px; by its EXIF orientation {header.orientation} the image is shown with "
            f"{header.width} x {header.height} px"
        )
    raise Unusable(
        f"size in the annotations is not the image's: {width} x {height} px, "
        f"the image has {header.width} x {header.height} px"
    )


def check_corners(box: Sequence[float]):
    """Raises `Unusable` if a box (x1, y1, x2, y2) is not finite, inverted or without area."""
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        raise Unusable(f"box is not finite: {_text(box)}")
    if x2 < x1 or y2 < y1:
        raise Unusable(f"inverted box: {_text(box)}")
    if x2 == x1 or y2 == y1:
        raise Unusable(f"box of zero area: {_text(box)}")


def _text(box: Sequence[float]) -> str:
    return "(x1, y1, x2, y2) = ({:g}, {:g}, {:g}, {:g})".format(*box)


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
