"""The region proposal network (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)."""

import keras
import numpy as np
from keras import layers, ops

from harmonic_tf.models.sampling import batched_gather


@keras.saving.register_keras_serializable(package="harmonic_tf")
class RPNHead(layers.Layer):
    """One 3x3 convolution, then objectness and deltas, with the same weights on every map.

    Args:
        anchors_per_cell: int.
        filters: int. Channels of the convolution.
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        maps: list of feature maps `(B, H, W, F)`, finest first; where `index` is given, the cells
            of the same maps, `(B, N, F)`, as `flatten_features` has them.
        index: None, or an int tensor `(B, K)`: the anchors to predict for, K an image. The few
            that are learned from cost little so, and their gradient next to nothing.

    Returns:
        `{"box": (B, A, 4), "classification": (B, A, 2)}`, float32, with K for A where `index` is
        given; object, background.
    """

    def __init__(self, anchors_per_cell, filters, **kwargs):
        super().__init__(**kwargs)
        self.anchors_per_cell = anchors_per_cell
        self.filters = filters

        def convolution(count, size, name, **settings):
            initializer = keras.initializers.RandomNormal(stddev=0.01)
            settings = {"kernel_initializer": initializer, "dtype": self.dtype_policy, **settings}
            return layers.Conv2D(count, size, name=name, **settings)

        self.convolution = convolution(filters, 3, "convolution", padding="same", activation="relu")
        self.box = convolution(4 * anchors_per_cell, 1, "box")
        self.classification = convolution(2 * anchors_per_cell, 1, "classification")

    def build(self, maps_shape):
        self._sizes = [tuple(shape[1:3]) for shape in maps_shape]
        self.convolution.build(maps_shape[0])
        for head in (self.box, self.classification):
            head.build((*maps_shape[0][:-1], self.filters))
        self.built = True

    def call(self, maps, index=None):
        if index is not None:
            return self._of_anchors(maps, index)
        levels = [self._of_cells(self.convolution(x)) for x in maps]
        return keras.tree.map_structure(lambda *x: ops.concatenate(x, axis=1), *levels)

    def _of_cells(self, features):
        """The predictions for the anchors of all cells of `(B, H, W, F)`."""
        anchors = features.shape[1] * features.shape[2] * self.anchors_per_cell
        return {
            "box": ops.reshape(ops.cast(self.box(features), "float32"), (-1, anchors, 4)),
            "classification": ops.reshape(
                ops.cast(self.classification(features), "float32"), (-1, anchors, 2)
            ),
        }

    def _of_anchors(self, cells, index):
        """The predictions for `(B, K)` anchors, each from the 3 x 3 cells around its own."""
        index = ops.cast(index, "int32")
        count, channels = index.shape[1], cells.shape[-1]
        around = ops.take(_neighbours(self._sizes), index // self.anchors_per_cell, axis=0)
        patches = batched_gather(cells, ops.reshape(ops.maximum(around, 0), (-1, 9 * count)))
        inside = ops.cast(ops.reshape(around >= 0, (-1, 9 * count, 1)), patches.dtype)
        patches = ops.reshape(patches * inside, (-1, count, 9 * channels))
        kernel = ops.reshape(self.convolution.kernel, (9 * channels, self.filters))
        features = ops.relu(ops.matmul(patches, kernel) + self.convolution.bias)
        of_cells = self._of_cells(features[:, :, None])
        own = ops.arange(count) * self.anchors_per_cell + index % self.anchors_per_cell
        return {key: batched_gather(values, own) for key, values in of_cells.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "anchors_per_cell": self.anchors_per_cell,
            "filters": self.filters,
        }


def _neighbours(sizes):
    """The 3 x 3 cells around each cell of all maps of these sizes, -1 outside: `(cells, 9)`."""
    tables, start = [], 0
    for height, width in sizes:
        numbers = start + np.arange(height * width, dtype="int32").reshape(height, width)
        padded = np.pad(numbers, 1, constant_values=-1)
        tables.append(np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(-1, 9))
        start += height * width
    return np.concatenate(tables)
