"""Channels scaled to one length, as SSD has it for conv4_3."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="harmonic_tf")
class L2Normalization(layers.Layer):
    """Scales the channels of each cell to length 1, then each channel by a learned factor.

    Lengths are computed in float32, and a cell of zeros stays so.

    Args:
        scale: float. What the factors start from; 20 in SSD, for conv4_3.
        epsilon: float. The smallest squared length that is divided by.
        **kwargs: of `keras.layers.Layer`.

    Example:

    >>> L2Normalization(scale=20.0)(np.array([[3.0, 4.0], [0.0, 0.0]])).numpy().tolist()
    [[12.0, 16.0], [0.0, 0.0]]
    """

    def __init__(self, scale=20.0, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale
        self.epsilon = epsilon

    def build(self, input_shape):
        self.factors = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.scale),
            autocast=False,
            name="factors",
        )

    def call(self, x):
        dtype = x.dtype
        x = ops.cast(x, "float32")
        square = ops.sum(ops.square(x), axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.maximum(square, self.epsilon))
        return ops.cast(x * self.factors, dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "epsilon": self.epsilon}
