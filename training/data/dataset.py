"""The one form that every source of images is brought into."""

import collections
import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harmonic_tf.training.console import printable_logger
from harmonic_tf.training.data.images import Header, as_bmp, digest_of
from harmonic_tf.training.data.problems import Problem, Unusable

_log = printable_logger(__name__)
_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One object as its source tells it, checked.

    Attributes:
        box: 4 floats. (x1, y1, x2, y2) in pixels of the original image, x2 and y2 exclusive.
        class_index: int. Index into the data's class names.
        difficult: bool. Pascal VOC's flag: trained on, ignored in evaluation.
        crowd: bool. COCO's flag: not trained on, a region to ignore in evaluation.
        area: float or None. Annotated area in square pixels; None for that of the box.
        segmentation: the mask in COCO's forms (list of polygons, or RLE dictionary), or None.
        identifier: int, float, str or None. Its own id in the source.
        further: what else the source says of it, as its form has it, or None: kept for a writer of
            that form.
    """

    box: tuple[float, float, float, float]
    class_index: int
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    segmentation: list | dict | None = None
    identifier: int | float | str | None = None
    further: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one image as arrays; N may be 0.

    Attributes:
        boxes: float32 `(N, 4)`. Corners (x1, y1, x2, y2) in pixels of the original image.
        classes: int32 `(N,)`.
        difficult: bool `(N,)`.
        crowd: bool `(N,)`.
        area: float32 `(N,)`, square pixels.
        segmentations: tuple of N masks in COCO's forms, or None where there is none.
        identifiers: tuple of N ids in the source, or None where there is none.
        further: tuple of N, what else the source says of each, or None.
    """

    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    segmentations: tuple
    identifiers: tuple
    further: tuple

    def __len__(self):
        return len(self.classes)

    @classmethod
    def of(cls, annotations: Sequence[Annotation]) -> "Objects":
        """The arrays of some annotations, in their order."""
        boxes = np.asarray([a.box for a in annotations], np.float32).reshape(-1, 4)
        box_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        areas = [
            b if a.area is None else a.area for a, b in zip(annotations, box_areas, strict=True)
        ]
        return cls(
            boxes=boxes,
            classes=np.asarray([a.class_index for a in annotations], np.int32),
            difficult=np.asarray([a.difficult for a in annotations], bool),
            crowd=np.asarray([a.crowd for a in annotations], bool),
            area=np.asarray(areas, np.float32),
            segmentations=tuple(a.segmentation for a in annotations),
            identifiers=tuple(a.identifier for a in annotations),
            further=tuple(a.further for a in annotations),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One image, not decoded, and its objects.

    Attributes:
        name: str. The image's file name.
        image_id: int. Its id in results.
        height: int, pixels, of the image as a viewer shows it: turned as its EXIF data say.
        width: int, pixels.
        is_jpeg: bool. JPEG images are decoded at the size that is needed.
        encoded: the file, or a function without arguments that returns its bytes.
        objects: Objects. None of them is a negative image, and stays in the data.
        orientation: int, 1 to 8. EXIF's: how the stored pixels are to be turned.
        with_pillow: bool. TensorFlow does not decode it as a viewer shows it.
        digest: str. Hash of the bytes that were checked, empty if it is not known.
        mask_scale: (float, float), (x, y). The image's pixels for a pixel of the image that the
            objects' segmentations were drawn on.
        further: what else the source says of it, as of `Annotation`.
    """

    name: str
    image_id: int
    height: int
    width: int
    is_jpeg: bool
    encoded: Path | Callable[[], bytes]
    objects: Objects
    orientation: int = 1
    with_pillow: bool = False
    digest: str = ""
    mask_scale: tuple[float, float] = (1.0, 1.0)
    further: Any = None

    @classmethod
    def of(
        cls, name: str, image_id: int, header: Header, encoded, objects: Objects, further=None
    ) -> "Sample":
        """The sample of an image that was checked."""
        facts = header._asdict() | {"further": further}
        return cls(name=name, image_id=image_id, encoded=encoded, objects=objects, **facts)

    def stored(self) -> bytes:
        """The encoded image as it is."""
        return self.encoded.read_bytes() if isinstance(self.encoded, Path) else self.encoded()

    def read_again(self) -> bytes:
        """The encoded image for the pipeline, which turns it by `orientation` if it is a JPEG.

        Raises:
            Unusable: it is not what was checked.
            OSError: it cannot be read.
        """
        content = self.stored()
        if self.digest and digest_of(content) != self.digest:
            raise Unusable("the image file was changed after it was checked")
        return as_bmp(content) if self.with_pillow else content


@dataclasses.dataclass(frozen=True, eq=False)
class DetectionData:
    """One split of a source, ready to be batched. `len(data)` is its number of images.

    Attributes:
        name: str. Short name of the source, such as "shapes" or the folder's name.
        split: str. The split's name in the source.
        class_names: tuple of str. Class index -> name.
        category_ids: tuple of int. Class index -> category id in results: COCO's own (sparse) ids,
            1..C for other sources.
        records: tuple of Sample.
        problems: tuple of Problem. What was left out, and why.
        clipped: int. Boxes that stood out of their image by more than a pixel and were cut.
        other_classes: tuple of str. Classes of objects that were left out as they are not among
            the class names, the most frequent first.
        broken: list of Problem. Images that could not be read any more when a batch needed them;
            grows while batches are made.
        splits: tuple of str. Names of all splits of the source; empty if it always has both.
        notes: tuple of str. What was decided about the source, such as which form it has.
        unread: dict. What else belongs to the annotations and is not kept -> how often.
        form: str. The source's, such as "coco".
        further: dict. What else the source says of all, as of `Annotation`.
        carried: dict. What a writer of the same form alone makes something of, such as
            "pose of objects" -> how often.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    clipped: int = 0
    other_classes: tuple[str, ...] = ()
    broken: list[Problem] = dataclasses.field(default_factory=list)
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unread: dict[str, int] = dataclasses.field(default_factory=dict)
    form: str = ""
    further: dict[str, Any] = dataclasses.field(default_factory=dict)
    carried: dict[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self):
        return len(self.records)

    @property
    def image_names(self) -> tuple[str, ...]:
        """File names in the data's order."""
        return tuple(record.name for record in self.records)

    def problem_counts(self) -> dict[str, int]:
        """How many problems there are of each kind, the most frequent first."""
        return dict(collections.Counter(p.kind for p in self.problems).most_common())

    def note_broken(self, record: Sample, reason: str):
        """Names an image that broke after it was loaded: once, in the log and in `broken`."""
        file = record.encoded if isinstance(record.encoded, Path) else record.name
        problem = Problem(str(file), None, reason)
        with _lock:
            if any(known.file == problem.file for known in self.broken):
                return
            self.broken.append(problem)
        _log.warning("%s; a grey image without objects takes its place", problem)
