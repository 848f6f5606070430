"""Anchors on the grids of a feature pyramid."""

import math

import numpy as np


def grid_anchors(image_size, feature_sizes, shapes):
    """Places the same anchors on every cell of every level.

    The centres are those of SSD: cell i of n along an axis of s pixels has its centre at
    (i + 0.5) / n * s.

    Args:
        image_size: (height, width) in pixels.
        feature_sizes: (rows, columns) of each level.
        shapes: for each level its anchors' (width, height) in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of a prediction head: level,
        row, column, shape.

    Example:

    >>> grid_anchors((8, 8), [(1, 2)], [[(2, 4)]])
    array([[1., 2., 3., 6.],
           [5., 2., 7., 6.]], dtype=float32)
    """
    levels = []
    for (rows, columns), level_shapes in zip(feature_sizes, shapes, strict=True):
        y = (np.arange(rows) + 0.5) / rows * image_size[0]
        x = (np.arange(columns) + 0.5) / columns * image_size[1]
        centre = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]
        half = np.asarray(level_shapes, "float64")[None, None] / 2
        levels.append(np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype("float32")


def ssd_anchor_shapes(sizes, aspect_ratios):
    """The anchor shapes of SSD (Liu et al. 2016, section 2.2).

    Each level has a square of its own size, one of the geometric mean with the next level's, and
    for each aspect ratio r a pair of rectangles with r and 1 / r.

    Args:
        sizes: anchor sizes in pixels, one more than levels.
        aspect_ratios: for each level its ratios above 1.

    Returns:
        Tuple with, for each level, a tuple of (width, height).

    Example:

    >>> ssd_anchor_shapes((4, 9), [()])
    (((4.0, 4.0), (6.0, 6.0)),)
    """
    levels = []
    for size, following, ratios in zip(sizes[:-1], sizes[1:], aspect_ratios, strict=True):
        between = math.sqrt(size * following)
        shapes = [(float(size), float(size)), (between, between)]
        for ratio in ratios:
            long, short = size * math.sqrt(ratio), size / math.sqrt(ratio)
            shapes += [(long, short), (short, long)]
        levels.append(tuple(shapes))
    return tuple(levels)


def stretched_sizes(sizes, scale):
    """Anchor sizes whose largest is scaled and whose smallest stays; between them in logarithms.

    Args:
        sizes: tuple of float, the square roots of anchors' areas.
        scale: float. What the largest is multiplied by.

    Example:

    >>> [round(size) for size in stretched_sizes((10, 20, 40), 4)]
    [10, 40, 160]
    """
    low, high = math.log(min(sizes)), math.log(max(sizes))
    places = [(math.log(size) - low) / (high - low) if high > low else 1.0 for size in sizes]
    return tuple(size * scale**place for size, place in zip(sizes, places, strict=True))


def stretched_shapes(anchor_shapes, scale):
    """Anchor shapes stretched by their sizes, as in `stretched_sizes`; aspect ratios are kept.

    Args:
        anchor_shapes: for each level its anchors' (width, height).
        scale: float. What the largest are multiplied by.

    Example:

    >>> stretched_shapes((((8, 2),), ((32, 8),)), 0.5)
    (((8.0, 2.0),), ((16.0, 4.0),))
    """
    sizes = [math.sqrt(width * height) for level in anchor_shapes for width, height in level]
    factors = iter(b / a for a, b in zip(sizes, stretched_sizes(sizes, scale), strict=True))
    return tuple(
        tuple((width * (factor := next(factors)), height * factor) for width, height in level)
        for level in anchor_shapes
    )


def ratio_anchor_shapes(sizes, ratios):
    """Anchors of one area and several aspect ratios for each level.

    Args:
        sizes: for each level the square root of its anchors' area, in pixels.
        ratios: widths over heights.

    Returns:
        Tuple with, for each level, a tuple of (width, height).

    Example:

    >>> ratio_anchor_shapes((4,), (0.25, 1))
    (((2.0, 8.0), (4.0, 4.0)),)
    """
    return tuple(
        tuple((size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios)
        for size in sizes
    )


def octave_anchor_shapes(sizes, ratios, octaves):
    """RetinaNet's anchors: several scales within an octave, and at each several aspect ratios.

    Args:
        sizes: for each level the square root of its smallest anchors' area, in pixels.
        ratios: widths over heights.
        octaves: int. Scales, from 1 on by powers of 2^(1 / octaves).

    Returns:
        Tuple with, for each level, a tuple of (width, height).

    Example:

    >>> octave_anchor_shapes((4,), (1,), 2)
    (((4.0, 4.0), (5.656854249492381, 5.656854249492381)),)
    """
    scales = [2 ** (i / octaves) for i in range(octaves)]
    return tuple(
        tuple(
            shape
            for (shapes,) in (ratio_anchor_shapes((size * scale,), ratios) for scale in scales)
            for shape in shapes
        )
        for size in sizes
    )


def strided_anchors(image_size, strides, shapes):
    """Anchors whose centres are a stride apart, cut at the image's border, as KerasCV has them.

    Cell i has its centre at (i + 0.5) * stride. They are those of `grid_anchors` where the strides
    divide the image's sides.

    Args:
        image_size: (height, width) in pixels.
        strides: of each level, in pixels.
        shapes: for each level its anchors' (width, height) in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of `grid_anchors`.

    Example:

    >>> strided_anchors((8, 6), [4], [[(2, 4)]])[:2]
    array([[1., 0., 3., 4.],
           [5., 0., 6., 4.]], dtype=float32)
    """
    height, width = image_size
    anchors = _on_strides(image_size, strides, shapes)
    return np.clip(anchors, 0, [width, height, width, height]).astype("float32")


def strided_squares(image_size, strides):
    """A square with sides of a stride around each location: what FCOS measures distances in.

    Args:
        image_size: (height, width) in pixels.
        strides: of each level, in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of `grid_anchors`.

    Example:

    >>> strided_squares((4, 6), [4])
    array([[0., 0., 4., 4.],
           [4., 0., 8., 4.]], dtype=float32)
    """
    return _on_strides(image_size, strides, [[(stride, stride)] for stride in strides])


def corner_anchors(image_size, strides, shapes):
    """Anchors on the corners of cells, not cut at the image's border, as torchvision has them.

    Cell i of n along an axis of s pixels has its anchors' centre at i * (s // n). That is the
    stride where it divides the image's side.

    Args:
        image_size: (height, width) in pixels.
        strides: of each level, in pixels.
        shapes: for each level its anchors' (width, height) in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of `grid_anchors`.

    Example:

    >>> corner_anchors((8, 10), [4], [[(2, 4)]])[:2]
    array([[-1., -2.,  1.,  2.],
           [ 2., -2.,  4.,  2.]], dtype=float32)
    """
    levels = []
    for stride, level_shapes in zip(strides, shapes, strict=True):
        cells = _cells(image_size, stride)
        steps = [side // count for side, count in zip(image_size, cells, strict=True)]
        size = [count * step for count, step in zip(cells, steps, strict=True)]
        middle = np.array([*steps[::-1], *steps[::-1]], "float32") / 2
        levels.append(grid_anchors(size, [cells], [level_shapes]) - middle)
    return np.concatenate(levels)


def corner_squares(image_size, strides):
    """Squares with sides of a stride, as of `strided_squares`, but around the corners of cells.

    Args:
        image_size: (height, width) in pixels.
        strides: of each level, in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of `grid_anchors`.

    Example:

    >>> corner_squares((4, 8), [4])
    array([[-2., -2.,  2.,  2.],
           [ 2., -2.,  6.,  2.]], dtype=float32)
    """
    return corner_anchors(image_size, strides, [[(stride, stride)] for stride in strides])


def rounded_anchor_shapes(sizes, ratios):
    """Anchors of several sizes and aspect ratios, whose half sides are whole pixels.

    They are those of torchvision's `AnchorGenerator`.

    Args:
        sizes: for each level the square roots of its anchors' areas, in pixels.
        ratios: heights over widths.

    Returns:
        Tuple with, for each level, a tuple of (width, height): ratio by ratio, each in all sizes.

    Example:

    >>> rounded_anchor_shapes(((32, 40),), (0.5, 1.0))
    (((46.0, 22.0), (56.0, 28.0), (32.0, 32.0), (40.0, 40.0)),)
    """
    return tuple(
        tuple(
            (2.0 * round(size / math.sqrt(ratio) / 2), 2.0 * round(size * math.sqrt(ratio) / 2))
            for ratio in ratios
            for size in level_sizes
        )
        for level_sizes in sizes
    )


def spaced_anchors(cells, steps, shapes):
    """Anchors on maps whose cells are so many pixels apart, whatever the image's size.

    Args:
        cells: (rows, columns) of each level.
        steps: of each level, in pixels.
        shapes: for each level its anchors' (width, height) in pixels.

    Returns:
        float32 array `(A, 4)`, x1, y1, x2, y2 in pixels, in the order of `grid_anchors`.

    Example:

    >>> spaced_anchors([(1, 2)], [4], [[(2, 4)]])
    array([[1., 0., 3., 4.],
           [5., 0., 7., 4.]], dtype=float32)
    """
    levels = [
        grid_anchors((rows * step, columns * step), [(rows, columns)], [level_shapes])
        for (rows, columns), step, level_shapes in zip(cells, steps, shapes, strict=True)
    ]
    return np.concatenate(levels)


def _on_strides(image_size, strides, shapes):
    return spaced_anchors([_cells(image_size, stride) for stride in strides], strides, shapes)


def _cells(image_size, stride):
    """(rows, columns) of a map."""
    return tuple(math.ceil(side / stride) for side in image_size)
