"""Images drawn on the fly: irregular objects that partly hide one another, and no files.

These are Figure 1 of the paper made into a data set: where objects occlude one another, the best
scored box is often not the best placed one.
"""

import colorsys
import dataclasses
import functools
import io

import numpy as np
from PIL import Image, ImageDraw

from harmonic_tf.training.data.dataset import Annotation, DetectionData, Objects, Sample
from harmonic_tf.training.data.formats import outlines
from harmonic_tf.training.data.validation import ProblemLog
from harmonic_tf.training.rle import runs

SPLITS = {"train": "train", "eval": "val"}
OBJECTS = (3, 7)
SIZES = (28.0, 80.0)
NEIGHBOUR_DISTANCE = 36.0
MIN_VISIBLE = 0.25
SUPERSAMPLING = 4


@dataclasses.dataclass(frozen=True)
class ShapesOptions:
    """What to draw; each field is an option of the source, as in "shapes:train=100,contrast=low".

    Attributes:
        train: int. Images for training.
        val: int. Images for validation.
        classes: int. Number of classes, 1 to 6: blob, ring, cross, star, crescent, arrow.
        seed: int. Another seed, other images.
        size: (int, int). Width and height in pixels, written 208x160.
        contrast: str. "high": saturated fill on grey; "low": greyish fill, hard to see.
    """

    train: int = 480
    val: int = 300
    classes: int = 3
    seed: int = 0
    size: tuple[int, int] = (208, 160)
    contrast: str = "high"

    def __post_init__(self):
        if not 1 <= self.classes <= len(outlines.OUTLINES):
            raise ValueError(
                f"shapes: classes must be 1 to {len(outlines.OUTLINES)}, received {self.classes}."
            )
        if self.contrast not in ("high", "low"):
            raise ValueError(f"shapes: contrast must be high or low, received {self.contrast!r}.")
        if min(self.train, self.val, self.seed) < 0 or min(self.size) < SIZES[0]:
            raise ValueError(
                "shapes: train, val and seed must not be negative, and size at least 28x28; "
                f"received {self}."
            )

    @classmethod
    def parse(cls, text: str) -> "ShapesOptions":
        """Options from "key=value,key=value".

        Raises:
            ValueError: an unknown option or a value of the wrong form.
        """
        known = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        values = {}
        for item in filter(None, text.split(",")):
            key, _, value = item.partition("=")
            if key not in known:
                raise ValueError(f"shapes: options are {', '.join(known)}; received {item!r}.")
            try:
                values[key] = _size(value) if key == "size" else known[key](value)
            except ValueError:
                raise ValueError(f"shapes: cannot read {item!r}.") from None
        return cls(**values)


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def load_shapes(
    argument: str,
    role: str,
    split: str | None,
    class_names: tuple[str, ...] | None,
    problem_log: ProblemLog,
) -> DetectionData:
    """Draws one split; image i depends only on seed, split, i and the way of drawing.

    Objects are drawn one over another. An object of which less than a quarter is visible has no
    box; boxes, areas and masks (uncompressed COCO RLE) are of the visible pixels. Images are kept
    uncompressed in memory (100 kB each), so that later epochs cost nothing.

    Args:
        argument: str. See `ShapesOptions`.
        role: str. "train" or "eval".
        split: str or None. "train" or "val", instead of the role's.
        class_names: tuple of str or None. Must be the names that are drawn.
        problem_log: ProblemLog. Nothing is added: what is drawn is right.

    Returns:
        DetectionData.

    Raises:
        ValueError: wrong options, split or class names.
    """
    options = ShapesOptions.parse(argument)
    split = split or SPLITS[role]
    if split not in SPLITS.values():
        raise ValueError(f"shapes: split must be train or val, received {split!r}.")
    drawn_names = tuple(outlines.OUTLINES)[: options.classes]
    if class_names not in (None, drawn_names):
        raise ValueError(f"shapes draws the classes {drawn_names}, received {class_names}.")
    return DetectionData(
        name="shapes",
        split=split,
        class_names=drawn_names,
        category_ids=tuple(range(1, options.classes + 1)),
        records=_records(options, split),
    )


@functools.lru_cache(maxsize=4)
def _records(options: ShapesOptions, split: str) -> tuple[Sample, ...]:
    return tuple(_record(options, split, index) for index in range(getattr(options, split)))


def _record(options: ShapesOptions, split: str, index: int) -> Sample:
    pixels, objects = draw(options, split, index)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    height, width = pixels.shape[:2]
    return Sample(f"{split}_{index:05d}.bmp", index, height, width, False, buffer.getvalue, objects)


def draw(options: ShapesOptions, split: str, index: int) -> tuple[np.ndarray, Objects]:
    """One image with its objects.

    Args:
        options: ShapesOptions.
        split: str. "train" or "val".
        index: int. Number of the image in the split.

    Returns:
        tuple `(image, objects)`: uint8 `(H, W, 3)`, and Objects.

    Example:
        >>> image, objects = draw(ShapesOptions(), "train", 0)
        >>> image.shape
        (160, 208, 3)
    """
    rng = np.random.default_rng([options.seed, list(SPLITS.values()).index(split), index])
    width, height = options.size
    canvas = _background(rng, height, width)
    owner = np.full((height, width), -1, np.int32)
    drawn = []
    centre = None
    for number in range(rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
        class_index = int(rng.integers(options.classes))
        centre = _centre(rng, centre, height, width)
        coverage, left, top = _coverage(rng, class_index, centre)
        _paint(canvas, owner, number, coverage, left, top, _fill(rng, options.contrast))
        drawn.append((class_index, np.count_nonzero(coverage >= 0.5)))
    annotations = [
        _annotation(owner == number, class_index)
        for number, (class_index, size) in enumerate(drawn)
        if np.count_nonzero(owner == number) >= max(1.0, MIN_VISIBLE * size)
    ]
    return np.clip(canvas, 0, 255).round().astype(np.uint8), Objects.of(annotations)


def _background(rng, height: int, width: int) -> np.ndarray:
    """Softly textured grey, float32 `(H, W, 3)`: two smooth noises and a fine grain."""
    grey = np.full((height, width), rng.uniform(95, 160), np.float32)
    for cell, strength in ((24, 14.0), (7, 6.0)):
        noise = rng.normal(0, strength, (height // cell + 2, width // cell + 2))
        smooth = Image.fromarray(noise.astype(np.float32))
        grey += np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC))
    grey += rng.normal(0, 2.5, grey.shape).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=-1)


def _centre(rng, previous, height: int, width: int) -> np.ndarray:
    """Where the next object goes, (x, y): in half the cases close to the one before."""
    size = np.array([width, height])
    anywhere = rng.uniform(0.08, 0.92, 2) * size
    beside = rng.uniform(-NEIGHBOUR_DISTANCE, NEIGHBOUR_DISTANCE, 2)
    if previous is None or rng.random() < 0.5:
        return anywhere
    return np.clip(previous + beside, 0.08 * size, 0.92 * size)


def _coverage(rng, class_index: int, centre: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A random object of a class: coverage of each pixel in 0..1, and its left and top pixel."""
    polygons = list(outlines.OUTLINES.values())[class_index](rng)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    polygons = [polygon @ turn for polygon in polygons]
    corners = np.concatenate(polygons)
    low, extent = corners.min(0), np.ptp(corners, axis=0)
    scale = np.exp(rng.uniform(*np.log(SIZES))) / extent.max()
    origin = centre - scale * extent / 2
    left, top = np.floor(origin).astype(int)
    shift = origin - (left, top) - scale * low
    columns, rows = np.ceil(scale * extent).astype(int) + 2
    image = Image.new("L", (int(columns) * SUPERSAMPLING, int(rows) * SUPERSAMPLING))
    pen = ImageDraw.Draw(image)
    for polygon in polygons:
        points = (polygon * scale + shift) * SUPERSAMPLING
        pen.polygon([tuple(point) for point in points], fill=255)
    return np.asarray(image.reduce(SUPERSAMPLING), np.float32) / 255.0, int(left), int(top)


def _fill(rng, contrast: str) -> np.ndarray:
    saturation, value = (0.65, 1.0), (0.65, 1.0)
    if contrast == "low":
        saturation, value = (0.05, 0.25), (0.4, 0.7)
    colour = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return 255 * np.array(colour, np.float32)


def _paint(canvas, owner, number: int, coverage, left: int, top: int, colour):
    """Lays an object over the canvas, in place, and writes its number over the pixels it owns."""
    height, width = owner.shape
    rows = slice(max(0, top), min(height, top + coverage.shape[0]))
    columns = slice(max(0, left), min(width, left + coverage.shape[1]))
    inside = coverage[
        rows.start - top : max(rows.stop - top, 0), columns.start - left : columns.stop - left
    ]
    canvas[rows, columns] += inside[..., None] * (colour - canvas[rows, columns])
    owner[rows, columns][inside >= 0.5] = number


def _annotation(mask: np.ndarray, class_index: int) -> Annotation:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Annotation(
        box=(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1),
        class_index=class_index,
        area=int(np.count_nonzero(mask)),
        segmentation=runs(mask),
    )
