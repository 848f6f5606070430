"""A convolution that is fast to train on a CPU."""

import keras
from keras import layers

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


def make_convolution(filters, size, separable=False, kernel_initializer="glorot_uniform", **kwargs):
    """A `Conv2D`, or a separable one, which is light: MobileNetV2's SSDLite has them in its heads.

    Args:
        filters: int.
        size: int. Cells of the kernel along each axis.
        separable: bool. Whether each channel is convolved by itself, by a kernel that keeps the
            variance of what it sees, before a 1 x 1 convolution with `kernel_initializer`.
        kernel_initializer: as of `keras.layers.Conv2D`.
        **kwargs: other arguments of the layer.

    Example:

    >>> layer = make_convolution(8, 3, separable=True)
    >>> layer.build((None, 5, 5, 4))
    >>> layer.count_params()  # 3 x 3 for each of 4 channels, 4 x 8, and 8 biases
    76
    """
    if not separable:
        return Conv2D(filters, size, kernel_initializer=kernel_initializer, **kwargs)
    return layers.SeparableConv2D(
        filters,
        size,
        depthwise_initializer=keras.initializers.RandomNormal(stddev=1 / size),
        pointwise_initializer=kernel_initializer,
        **kwargs,
    )


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
