"""From what an annotation file says of its images to checked samples: what most formats share.

A reader tells of each image where it lies and what stands in its annotation; what is wrong with
either is named here, in the same words for all.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harmonic_tf.training.data.dataset import Annotation, Sample
from harmonic_tf.training.data.headers import in_parallel, read_headers, shown, try_header
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.data.segmentation import usable_segmentation
from harmonic_tf.training.data.validation import ProblemLog, check_size


class Picture(NamedTuple):
    """One image as its source tells of it.

    Attributes:
        name: str. What it is called in results.
        encoded: its file, or a function without arguments that returns its bytes.
        source: Path. The file that its annotations stand in.
        place: str or None. Where they stand in that file, if it tells of several images.
        entries: sequence. One entry an object, of whatever form the source has.
        size: (int, int) or None. Height and width as the annotations tell them.
    """

    name: str
    encoded: Path | Callable[[], bytes]
    source: Path
    place: str | None
    entries: Sequence
    size: tuple[int | None, int | None] | None = None


class Region(NamedTuple):
    """One object as its source tells of it, not checked.

    Attributes:
        label: str. Name of its class.
        box: 4 floats, (x1, y1, x2, y2) in pixels.
        segmentation: mask in COCO's forms, or None.
        difficult, crowd, area: as of `Annotation`.
    """

    label: str
    box: tuple
    segmentation: list | dict | None = None
    difficult: bool = False
    crowd: bool = False
    area: float | None = None


def samples(
    pictures: Sequence[Picture],
    region_of: Callable[[Any, Header], Region],
    class_names: Sequence[str],
    log: ProblemLog,
) -> tuple[Sample, ...]:
    """Checks images and objects; what cannot be used is named and left out.

    Args:
        pictures: sequence of Picture.
        region_of: function of an entry and its image's Header that returns a Region, or raises
            `Unusable`.
        class_names: sequence of str.
        log: ProblemLog.

    Returns:
        tuple of Sample. Their ids are their places.
    """
    found: list[Sample] = []
    for picture, header in zip(pictures, _headers(pictures), strict=True):
        with log.of_image(picture.encoded), log.naming(picture.source, picture.place):
            if isinstance(header, Unusable):
                raise header
            check_size(header, *(picture.size or (None, None)))
            objects = log.objects(_annotations(picture, header, region_of, class_names, log))
            found.append(Sample.of(picture.name, len(found), header, picture.encoded, objects))
    return tuple(found)


def _headers(pictures: Sequence[Picture]) -> list[Header | Unusable]:
    """Of files, which are remembered, and of images inside of other files."""
    of_files = iter(read_headers([p.encoded for p in pictures if isinstance(p.encoded, Path)]))
    inside = [p.encoded for p in pictures if not isinstance(p.encoded, Path)]
    of_bytes = shown(in_parallel(_try_inside, inside), len(inside))
    return [next(of_files if isinstance(p.encoded, Path) else of_bytes) for p in pictures]


def _try_inside(read: Callable[[], bytes]) -> Header | Unusable:
    try:
        return try_header(read())
    except Unusable as error:
        return error


def _annotations(picture: Picture, header: Header, region_of, class_names, log: ProblemLog):
    annotations = []
    for number, entry in enumerate(picture.entries, 1):
        where = ", ".join(filter(None, (picture.place, f"object {number}")))
        with log.naming(picture.source, where):
            region = region_of(entry, header)
            class_index = log.class_index(region.label, class_names)
            box = log.checked_box(region.box, header)
            mask = None
            with log.naming(picture.source, where):
                mask = usable_segmentation(region.segmentation, header)
            annotations.append(
                Annotation(box, class_index, region.difficult, region.crowd, region.area, mask)
            )
    return annotations


def frame(polygons: Iterable[Sequence[float]]) -> tuple[float, float, float, float]:
    """The box around polygons [x1, y1, x2, y2, ...].

    Example:
        >>> frame([[4, 1, 9, 2, 5, 6]])
        (4, 1, 9, 6)
    """
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def numbers(texts: Sequence[str]) -> list[float]:
    """Numbers written as text.

    Raises:
        Unusable: one is none.
    """
    try:
        return [float(text) for text in texts]
    except (TypeError, ValueError):
        raise Unusable(f"malformed box: expected numbers, received {str(texts)[:80]}") from None
