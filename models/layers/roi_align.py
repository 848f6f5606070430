"""RoIAlign (He et al. 2017) on a feature pyramid: the features of regions."""

import itertools
import math
from typing import NamedTuple

import keras
from keras import ops


class RegionFeatures(NamedTuple):
    """The features of regions, from the maps of a pyramid.

    Attributes:
        sizes: (height, width) of each map that is read, finest first.
        image_size: (height, width) of the image in pixels.
        filters: int F.
        finest: name of the first map's level, such as `"P3"`.
        aligned: bool, as of `roi_align`.
    """

    sizes: tuple
    image_size: tuple[int, int]
    filters: int
    finest: str
    aligned: bool = True

    def __call__(self, cells, rois, size):
        """Of regions `(B, R, 4)` the features `(B * R, size, size, F)`; see `roi_align`."""
        level_of_224 = 4 - int(self.finest[1:])  # P4, by equation 1
        pooled = roi_align(
            cells, self.sizes, rois, self.image_size, size, 224.0, level_of_224, self.aligned
        )
        return ops.reshape(pooled, (-1, size, size, self.filters))


def flatten_features(maps):
    """The cells of feature maps `(B, H, W, F)` in one row, map by map: `(B, N, F)`."""
    return ops.concatenate(
        [ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in maps], axis=1
    )


def roi_align(cells, sizes, rois, image_size, size, canonical_size, canonical_level, aligned=True):
    """RoIAlign (He et al. 2017), with 2 x 2 samples a bin, on a feature pyramid.

    A box is read from the map that suits its size: one of `canonical_size` from the map at
    `canonical_level`, one twice as large from the next coarser (Lin et al. 2017, equation 1).

    Args:
        cells: `(B, N, F)`, feature maps as `flatten_features` has them, finest first. There may be
            more of them, which are not read.
        sizes: (height, width) of each map that is read.
        rois: float tensor `(B, R, 4)`, x1, y1, x2, y2 in pixels. One that is not finite has NaN
            for its features.
        image_size: (height, width) of the image in pixels.
        size: int S. Bins along each axis.
        canonical_size: float. Square root of an area, in pixels.
        canonical_level: int. Index in `sizes`.
        aligned: bool. Whether the centre of the first cell is half a cell from the image's border.
            In torchvision's detectors it lies on the border, and a box is at least a cell large.

    Returns:
        Tensor `(B, R, S, S, F)`.
    """
    # A number that is not finite is no index; it goes into the weights, and so into the features.
    finite = ops.all(ops.isfinite(rois), axis=-1)
    rois = ops.where(finite[..., None], rois, 0.0)
    level = _levels(rois, len(sizes), canonical_size, canonical_level)
    heights, widths = zip(*sizes, strict=True)
    counts = [height * width for height, width in sizes]
    height, width, start = (
        ops.take(ops.array(values, "int32"), level, axis=0)
        for values in (heights, widths, list(itertools.accumulate(counts, initial=0))[:-1])
    )
    batch, count, channels = ops.shape(cells)
    start = start + count * ops.arange(batch, dtype="int32")[:, None]
    cells = ops.reshape(cells, (-1, channels))

    row, row_weight = _samples(rois[..., 1], rois[..., 3], height, image_size[0], size, aligned)
    column, column_weight = _samples(
        rois[..., 0], rois[..., 2], width, image_size[1], size, aligned
    )
    row_weight = ops.where(finite[..., None, None], row_weight, float("nan"))
    width, start = (x[..., None, None, None, None] for x in (width, start))
    index = start + row[:, :, :, None, :, None] * width + column[:, :, None, :, None, :]
    weight = row_weight[:, :, :, None, :, None] * column_weight[:, :, None, :, None, :]
    bins = _weighted_sums(cells, ops.reshape(index, (-1, 16)), ops.reshape(weight, (-1, 16)))
    return ops.reshape(bins, (-1, rois.shape[1], size, size, channels))


def _weighted_sums(values, index, weight):
    """Sums of weighted rows of `values` `(N, F)`: those of `index` `(M, K)`, int32; `(M, F)`."""
    weight = ops.stop_gradient(weight)
    if keras.backend.backend() == "tensorflow":
        return _sparse_product(values, index, weight)
    weight = ops.cast(weight, values.dtype)[..., None]
    return sum(ops.take(values, index[:, k], axis=0) * weight[:, k] for k in range(index.shape[1]))


def _sparse_product(values, index, weight):
    """The same in a fraction of the time: the copies of the rows are never written down.

    Of TensorFlow's two sparse products this is the one that uses all cores and vector units.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def product(values):
        rows = tf.shape(values)[0]

        def gradient(upstream):
            # A matrix cannot be kept from above: an exported function may not capture one.
            matrix = _sparse_matrix(index, weight, rows)
            # Its own `transpose_a` takes two to three times as long.
            transposed = tf.raw_ops.SparseMatrixTranspose(input=matrix, type=upstream.dtype)
            return tf.raw_ops.SparseMatrixMatMul(a=transposed, b=upstream)

        matrix = _sparse_matrix(index, weight, rows)
        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=values), gradient

    def nothing():
        return tf.zeros((tf.shape(index)[0], tf.shape(values)[1]), weight.dtype)

    # TensorFlow's product of a matrix without rows divides by zero, which ends the process.
    sums = tf.cond(tf.shape(index)[0] > 0, lambda: product(tf.cast(values, weight.dtype)), nothing)
    return tf.cast(tf.ensure_shape(sums, (None, values.shape[-1])), values.dtype)


def _sparse_matrix(index, weight, columns):
    """`(M, columns)`, compressed by rows: in row m, weight[m, k] in column index[m, k]."""
    import tensorflow as tf

    rows = tf.broadcast_to(tf.range(tf.shape(index)[0])[:, None], tf.shape(index))
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=tf.cast(tf.reshape(tf.stack([rows, index], axis=-1), (-1, 2)), tf.int64),
        values=tf.reshape(weight, (-1,)),
        dense_shape=tf.cast(tf.stack([tf.shape(index)[0], columns]), tf.int64),
    )


def _levels(rois, count, canonical_size, canonical_level):
    """The index of the map that suits each box, `(B, R)`."""
    area = (rois[..., 2] - rois[..., 0]) * (rois[..., 3] - rois[..., 1])
    scale = ops.sqrt(ops.maximum(area, 1e-4)) / canonical_size
    level = ops.floor(canonical_level + ops.log(scale) / math.log(2) + 1e-6)
    return ops.cast(ops.clip(level, 0, count - 1), "int32")


def _samples(low, high, cells, pixels, size, aligned):
    """Which cells the bins of a box read along one axis, and how much of each.

    Args:
        low: `(B, R)`. Lower edge of each box in pixels.
        high: `(B, R)`. Its upper edge.
        cells: `(B, R)`, int32. Cells of its map along this axis.
        pixels: int. The image's size along this axis.
        size: int S. Bins, with 2 samples each, of which each lies between two cells.
        aligned: bool, as of `roi_align`.

    Returns:
        `(cell, weight)`, `(B, R, S, 4)` each; the cell is int32, and weights sum up to 1.
    """
    cells = ops.cast(cells, low.dtype)[..., None]
    # The centre of cell 0 is at 0. A sample more than a cell outside reads nothing.
    part = (ops.arange(2 * size, dtype=low.dtype) + 0.5) / (2 * size)
    extent = (high - low)[..., None]
    if not aligned:
        extent = ops.maximum(extent, pixels / cells)
    position = low[..., None] + extent * part
    position = position * (cells / pixels) - (0.5 if aligned else 0.0)
    inside = ops.logical_and(position >= -1, position <= cells)
    position = ops.clip(position, 0.0, cells - 1)
    before = ops.floor(position)
    after = ops.minimum(before + 1, cells - 1)
    share = position - before
    weight = ops.where(inside[..., None], ops.stack([1 - share, share], axis=-1), 0.0) / 2
    shape = (-1, low.shape[1], size, 4)
    cell = ops.cast(ops.stack([before, after], axis=-1), "int32")
    return ops.reshape(cell, shape), ops.reshape(weight, shape)
