"""Convolutions that are fast to train on a CPU."""

import keras
from keras import layers

from harmonic_tf.models.layers.normalization import BatchNormalization

# On smaller maps, or with fewer channels, TensorFlow's own gradient is at least as fast.
_CELLS = 50 * 50
_CHANNELS = 64


@keras.saving.register_keras_serializable(package="harmonic_tf")
class Conv2D(layers.Conv2D):
    """`keras.layers.Conv2D`, by matrix products where TensorFlow is slow on a CPU.

    A 1 x 1 convolution is one product of the cells and the kernel, and so is its gradient; the
    gradient of a larger kernel on large maps is a product for each of its cells
    (`benchmarks/convolution.py`). With strides, on a GPU and on other backends it is Keras's own
    `call`. Arguments and weights are those of `keras.layers.Conv2D`, the values the same up to
    rounding.

    Example:

    >>> layer = Conv2D(8, 1)
    >>> tuple(layer(np.zeros((1, 5, 6, 4))).shape)
    (1, 5, 6, 8)
    """

    def call(self, inputs):
        if self._can_be_products() and self.kernel_size == self.strides == (1, 1):
            return self._product_of_cells(inputs)
        return super().call(inputs)

    def convolution_op(self, inputs, kernel):
        height, width, channels = inputs.shape[1:]
        large = channels >= _CHANNELS and height and width and height * width >= _CELLS
        odd = all(size % 2 for size in self.kernel_size)
        same = self.padding == "same" and self.strides == (1, 1)
        if self._can_be_products() and large and odd and same:
            return convolve_same(inputs, kernel)
        return super().convolution_op(inputs, kernel)

    def _can_be_products(self):
        if keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        return (
            not tf.config.get_visible_devices("GPU")
            and self.compute_dtype == "float32"
            and self.data_format == "channels_last"
            and self.dilation_rate == (1, 1)
            and self.groups == 1
        )

    def _product_of_cells(self, inputs):
        import tensorflow as tf

        outputs = tf.reshape(inputs, (-1, inputs.shape[-1])) @ self.kernel[0, 0]
        if self.use_bias:  # here, where TensorFlow makes one operation of both
            outputs = tf.nn.bias_add(outputs, self.bias)
        outputs = tf.reshape(outputs, (*keras.ops.shape(inputs)[:-1], self.filters))
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class SeparableConv2D(layers.Layer):
    """A convolution of each channel by itself, then one across them, with a ReLU between.

    It is light, and that of MobileNetV2's SSDLite (Sandler et al. 2018): normalised before the
    ReLU, it takes maps of any scale.

    Args:
        filters: int.
        size: int. Cells of the kernel along each axis.
        strides: int. Of the first convolution.
        padding: `"same"` or `"valid"`. Of the first convolution.
        normalized: bool. Without normalisation there is no ReLU between: what is shared by maps
            whose statistics differ.
        **settings: of the second convolution, a `Conv2D`, such as `kernel_initializer`; and `name`
            and `dtype`.

    Example:

    >>> layer = SeparableConv2D(8, 3)
    >>> layer.build((None, 5, 5, 4))
    >>> layer.count_params()  # 3 x 3 and normalisation for each of 4 channels, 4 x 8, 8 biases
    92
    """

    def __init__(
        self,
        filters,
        size,
        strides=1,
        padding="same",
        normalized=True,
        name=None,
        dtype=None,
        **settings,
    ):
        super().__init__(name=name, dtype=dtype)
        self.settings = {
            "filters": filters,
            "size": size,
            "strides": strides,
            "padding": padding,
            "normalized": normalized,
            **settings,
        }
        self.depthwise = layers.DepthwiseConv2D(
            size,
            strides=strides,
            padding=padding,
            use_bias=False,
            # What keeps the variance of what it sees, also where it is not normalised.
            depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / size),
            dtype=self.dtype_policy,
            name="depthwise",
        )
        self.normalization = None
        if normalized:
            self.normalization = BatchNormalization(
                momentum=0.9, dtype=self.dtype_policy, name="normalization"
            )
        self.pointwise = Conv2D(filters, 1, dtype=self.dtype_policy, name="pointwise", **settings)

    def build(self, input_shape):
        self.depthwise.build(input_shape)
        shape = self.depthwise.compute_output_shape(input_shape)
        if self.normalization:
            self.normalization.build(shape)
        self.pointwise.build(shape)
        self.built = True

    def call(self, x, training=None):
        x = self.depthwise(x)
        if self.normalization:
            x = keras.ops.relu(self.normalization(x, training=training))
        return self.pointwise(x)

    def compute_output_shape(self, input_shape):
        shape = self.depthwise.compute_output_shape(input_shape)
        return self.pointwise.compute_output_shape(shape)

    def get_config(self):
        return {**super().get_config(), **self.settings}


def convolve_same(inputs, kernel):
    """Convolution of `(B, H, W, F)` with an odd kernel, padded so that the map keeps its size."""
    import tensorflow as tf

    @tf.custom_gradient
    def convolution(inputs, kernel):
        settings = {"strides": (1, 1, 1, 1), "padding": "SAME"}

        def gradient(upstream):
            of_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, **settings
            )
            return of_inputs, _kernel_gradient(inputs, upstream, kernel.shape)

        return tf.nn.conv2d(inputs, kernel, **settings), gradient

    return convolution(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))


def _kernel_gradient(inputs, upstream, kernel_shape):
    """For each cell of the kernel the product of what it saw with what came of it.

    With both maps padded alike and their cells in one row, what a cell of the kernel saw is that
    row from another cell on: no copy is made.
    """
    import tensorflow as tf

    rows, columns, channels, filters = kernel_shape
    above, left = rows // 2, columns // 2
    width = tf.shape(inputs)[2] + 2 * left
    seen = tf.pad(inputs, [[0, 0], [above, above], [left, left], [0, 0]])
    seen = tf.reshape(seen, (-1, channels))
    upstream = tf.pad(upstream, [[0, 0], [0, 2 * above], [0, 2 * left], [0, 0]])
    count = tf.shape(seen)[0] - 2 * above * width - 2 * left
    upstream = tf.reshape(upstream, (-1, filters))[:count]
    starts = [row * width + column for row in range(rows) for column in range(columns)]
    products = [
        tf.matmul(seen[start : start + count], upstream, transpose_a=True) for start in starts
    ]
    return tf.reshape(tf.stack(products), kernel_shape)
