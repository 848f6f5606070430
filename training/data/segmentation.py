"""Masks of objects as their annotations tell them, drawn in the frames of boxes."""

import math
import operator

import numpy as np
from PIL import Image, ImageDraw

from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.rle import decode, run_lengths

# Twice what the detector's mask branch predicts.
MASK_SIZE = 56
SUPERSAMPLING = 4


def frame_mask(segmentation: list | dict, box, size: int = MASK_SIZE) -> np.ndarray:
    """The part of an object's mask that a box frames, at any size of the box in as many cells.

    Args:
        segmentation: the mask in COCO's forms: list of polygons [x1, y1, x2, y2, ...], whose union
            it is, or RLE dictionary, compressed or not.
        box: 4 floats, (x1, y1, x2, y2) in pixels of the image, with area.
        size: int S.

    Returns:
        uint8 `(S, S)`. The share of each cell that the object covers, times 255.

    Example:
        >>> left_half = {"size": [2, 4], "counts": [0, 4, 4]}
        >>> frame_mask(left_half, (0, 0, 4, 2), size=2).tolist()
        [[255, 0], [255, 0]]
    """
    draw = _draw_runs if isinstance(segmentation, dict) else _draw_polygons
    return draw(segmentation, np.asarray(box, np.float64), size)


def _draw_polygons(polygons: list, box, size: int) -> np.ndarray:
    fine = size * SUPERSAMPLING
    image = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(image)
    for polygon in polygons:
        points = (np.reshape(polygon, (-1, 2)) - box[:2]) / (box[2:] - box[:2]) * fine
        pen.polygon(points.ravel().tolist(), fill=255)
    return np.asarray(image.reduce(SUPERSAMPLING))


def _draw_runs(rle: dict, box, size: int) -> np.ndarray:
    height, width = rle["size"]
    # Transposed, as runs go down the columns: so it lies in memory row by row.
    canvas = Image.fromarray(np.uint8(255) * decode(rle).T)
    x1, y1, x2, y2 = np.clip(box, 0, (width, height, width, height)).tolist()
    fine = (size * SUPERSAMPLING, size * SUPERSAMPLING)
    part = canvas.resize(fine, Image.Resampling.NEAREST, box=(y1, x1, y2, x2))
    return np.asarray(part.reduce(SUPERSAMPLING)).T


def usable_segmentation(segmentation, header: Header) -> list | dict | None:
    """A mask of this image in one of COCO's forms; nothing is drawn to find out whether it can be.

    Args:
        segmentation: what stands in the annotations: polygons, one polygon without the list around
            it, an RLE dictionary, or nothing.
        header: Header of the image.

    Returns:
        list, dict, or None where there is no mask, such as `[]` and `[[]]`.

    Raises:
        Unusable: it cannot be drawn.
    """
    if isinstance(segmentation, list):
        if segmentation and all(isinstance(value, int | float) for value in segmentation):
            segmentation = [segmentation]
        segmentation = [polygon for polygon in segmentation if polygon != []]
    if not segmentation:
        return None
    fault_of = _fault_of_runs if isinstance(segmentation, dict) else _fault_of_polygons
    try:
        fault = fault_of(segmentation, header)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        fault = "neither polygons [x1, y1, x2, y2, ...] nor RLE"
    if fault:
        raise Unusable(f"malformed segmentation: {fault}; the object's box is used without it")
    return segmentation


def _fault_of_polygons(polygons: list, header: Header) -> str | None:
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            return f"polygon of {len(polygon)} numbers, expected x and y of 3 points or more"
        if not math.isfinite(sum(polygon)):
            return "polygon is not finite"
        for corners, length in ((polygon[::2], header.width), (polygon[1::2], header.height)):
            if min(corners) < -length or max(corners) > 2 * length:
                return "polygon stands out of the image by more than the image's size"
    return None


def _fault_of_runs(rle: dict, header: Header) -> str | None:
    height, width = map(operator.index, rle["size"])
    if (height, width) != (header.height, header.width):
        return f"RLE of {width} x {height} px, the image has {header.width} x {header.height} px"
    lengths = run_lengths(rle["counts"])
    # Each by itself first: a sum of such numbers may wrap around.
    if lengths.min() < 0 or lengths.max() > height * width or lengths.sum() != height * width:
        return f"RLE whose runs do not add up to {width} x {height} px"
    return None
