"""The one form that every source of images is brought into."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in the ground truth that cannot be used.

    Attributes:
        file: str. The file it stands in.
        object: str or None. Which object of the file; None if the whole image is left out.
        reason: str. What is wrong: its kind, then a colon and the details if there are any.
    """

    file: str
    object: str | None
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its details: what problems are counted by."""
        return self.reason.partition(":")[0]

    def __str__(self):
        where = f"{self.file}, {self.object}" if self.object else self.file
        return f"{where}: {self.reason}"


class BadDataError(ValueError):
    """Unusable ground truth, with all of it listed.

    Attributes:
        problems: tuple of Problem.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} problem(s) in the data:\n{lines}")


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
    """

    box: tuple[float, float, float, float]
    class_index: int
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    segmentation: list | dict | None = None


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
    """

    boxes: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    segmentations: tuple

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
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One image, not decoded, and its objects.

    Attributes:
        name: str. The image's file name.
        image_id: int. Its id in results.
        height: int, pixels.
        width: int, pixels.
        is_jpeg: bool. JPEG images are decoded at the size that is needed.
        encoded: the file, or a function without arguments that returns its bytes.
        objects: Objects. None of them is a negative image, and stays in the data.
    """

    name: str
    image_id: int
    height: int
    width: int
    is_jpeg: bool
    encoded: Path | Callable[[], bytes]
    objects: Objects

    def read(self) -> bytes:
        """The encoded image (JPEG, PNG, BMP or GIF)."""
        return self.encoded.read_bytes() if isinstance(self.encoded, Path) else self.encoded()


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
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    clipped: int = 0

    def __len__(self):
        return len(self.records)

    @property
    def image_names(self) -> tuple[str, ...]:
        """File names in the data's order."""
        return tuple(record.name for record in self.records)

    def image_name(self, image_id: int) -> str:
        """File name of the image with this id.

        Raises:
            KeyError: no image has the id.
        """
        for record in self.records:
            if record.image_id == image_id:
                return record.name
        raise KeyError(f"No image of {self.name} ({self.split}) has id {image_id}.")

    def problem_counts(self) -> dict[str, int]:
        """How many problems there are of each kind, the most frequent first."""
        return dict(collections.Counter(p.kind for p in self.problems).most_common())
