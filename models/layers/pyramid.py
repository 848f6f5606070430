"""Feature pyramids (Lin et al. 2017)."""

import keras
from keras import layers

from harmonic_tf.models.layers.convolution import Conv2D, SeparableConv2D


@keras.saving.register_keras_serializable(package="harmonic_tf")
class FeaturePyramid(layers.Layer):
    """A feature pyramid: top-down over the backbone's levels, then coarser levels on top.

    Args:
        levels: sequence of strings. Consecutive levels of the backbone that enter, finest first,
            such as `("P3", "P4", "P5")`.
        extra_levels: int. Coarser levels, each by a 3x3 convolution of stride 2 on the one before.
        filters: int. Channels of every level.
        last_padding: `"same"` or `"valid"`: padding of the last extra level. SSD300 has
            `"valid"`, from 3 x 3 cells to 1.
        separable: bool. Whether the 3x3 convolutions are separable ones.
        extra_input: what the first extra level is made of: the coarsest features of the
            `"backbone"` (RetinaNet) or level of the `"pyramid"` (FCOS).
        symmetric: bool. Whether all extra levels pad both sides alike, as PyTorch does; "same"
            pads the end only where a side is even.
        **kwargs: of `keras.layers.Layer`.

    Call arguments:
        inputs: dictionary of feature maps `(B, H, W, F)`, with the levels as keys.

    Returns:
        List of feature maps with `filters` channels, finest first.
    """

    def __init__(
        self,
        levels=("P3", "P4", "P5"),
        extra_levels=2,
        filters=256,
        last_padding="same",
        separable=False,
        extra_input="backbone",
        symmetric=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.levels = tuple(levels)
        finest = int(self.levels[0][1:]) if self.levels else 0
        if not levels or self.levels != tuple(f"P{finest + i}" for i in range(len(levels))):
            raise ValueError(
                "`levels` must be consecutive levels of the backbone, finest first. "
                f"Received: {levels!r}"
            )
        if extra_levels < 0:
            raise ValueError(f"`extra_levels` must not be negative. Received: {extra_levels!r}")
        self.extra_levels = extra_levels
        self.filters = filters
        self.last_padding = last_padding
        self.separable = separable
        if extra_input not in ("backbone", "pyramid"):
            raise ValueError(
                f'`extra_input` must be "backbone" or "pyramid". Received: {extra_input!r}'
            )
        self.extra_input = extra_input
        self.symmetric = symmetric

        def convolution(name, size, **settings):
            settings = {"padding": "same", "dtype": self.dtype_policy, **settings}
            kind = SeparableConv2D if separable and size > 1 else Conv2D
            return kind(filters, size, name=name, **settings)

        self.laterals = [convolution(f"lateral_{level}", 1) for level in self.levels]
        self.refinements = [convolution(f"output_{level}", 3) for level in self.levels]
        paddings = ["same"] * (extra_levels - 1) + [last_padding]
        self.extras = [
            convolution(f"extra_{i}", 3, strides=2, padding="valid" if symmetric else paddings[i])
            for i in range(extra_levels)
        ]

    def build(self, input_shape):
        shape = None
        for lateral, level in zip(self.laterals, self.levels, strict=True):
            shape = input_shape[level]
            lateral.build(shape)
        for output in self.refinements:
            output.build((*shape[:-1], self.filters))
        if self.extra_input == "pyramid":
            shape = (*shape[:-1], self.filters)
        for extra in self.extras:
            extra.build(self._padded(shape))
            shape = (*shape[:-1], self.filters)
        self.built = True

    def call(self, inputs):
        features = [lateral(inputs[level]) for lateral, level in self._inputs()]
        for i in reversed(range(len(features) - 1)):
            features[i] = features[i] + _upsample_like(features[i + 1], features[i])
        features = [output(x) for output, x in zip(self.refinements, features, strict=True)]
        x = inputs[self.levels[-1]] if self.extra_input == "backbone" else features[-1]
        for i, extra in enumerate(self.extras):
            x = x if i == 0 else keras.ops.relu(x)
            if self.symmetric:
                x = keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
            x = extra(x)
            features.append(x)
        return features

    def compute_output_shape(self, input_shape):
        shapes = [(*input_shape[level][:-1], self.filters) for level in self.levels]
        shape = input_shape[self.levels[-1]]
        for extra in self.extras:
            shape = extra.compute_output_shape(self._padded(shape))
            shapes.append(shape)
        return shapes

    def _padded(self, shape):
        if not self.symmetric:
            return shape
        return (shape[0], *(side and side + 2 for side in shape[1:3]), shape[3])

    def _inputs(self):
        return zip(self.laterals, self.levels, strict=True)

    def get_config(self):
        return {
            **super().get_config(),
            "levels": self.levels,
            "extra_levels": self.extra_levels,
            "filters": self.filters,
            "last_padding": self.last_padding,
            "separable": self.separable,
            "extra_input": self.extra_input,
            "symmetric": self.symmetric,
        }


def _upsample_like(coarse, fine):
    """Doubles a map by repetition and cuts it to the size of the finer one."""
    height, width = keras.ops.shape(coarse)[1:3]
    doubled = keras.ops.image.resize(coarse, (2 * height, 2 * width), interpolation="nearest")
    size = tuple(fine.shape[1:3])
    if None not in size and size == tuple(doubled.shape[1:3]):
        return doubled
    height, width = keras.ops.shape(fine)[1:3]
    return doubled[:, :height, :width]
