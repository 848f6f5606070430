"""A grouped convolution whose gradient is fast on every backend."""

import keras
from keras import ops

from harmonic_tf.models.layers.convolution import Conv2D


@keras.saving.register_keras_serializable(package="harmonic_tf")
class GroupedConv2D(Conv2D):
    """`keras.layers.Conv2D` that computes groups another way on TensorFlow.

    Keras hands grouped convolutions to XLA there, whose gradient takes seconds on a CPU. Arguments,
    weights and results are those of `keras.layers.Conv2D`; only the time differs.

    Example:

    >>> layer = GroupedConv2D(64, 3, padding="same", groups=32)
    >>> tuple(layer(np.zeros((1, 8, 8, 64))).shape)
    (1, 8, 8, 64)
    """

    def convolution_op(self, inputs, kernel):
        if self.groups == 1 or keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        # Without oneDNN the kernel for all groups has no gradient on a CPU.
        convolve = whole if tf.config.get_visible_devices("GPU") else split
        return convolve(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


def whole(inputs, kernel, strides, padding, dilation_rate, data_format):
    """TensorFlow's convolution of all groups at once; arguments as of `keras.ops.conv`."""
    import tensorflow as tf

    return tf.nn.convolution(
        inputs,
        kernel,
        strides=strides,
        padding=padding.upper(),
        dilations=dilation_rate,
        data_format="NHWC" if data_format == "channels_last" else "NCHW",
    )


def split(inputs, kernel, strides, padding, dilation_rate, data_format):
    """One convolution a group; arguments as of `keras.ops.conv`."""
    channels = -1 if data_format == "channels_last" else 1
    groups = inputs.shape[channels] // kernel.shape[-2]
    outputs = [
        ops.conv(
            group_inputs,
            group_kernel,
            strides=strides,
            padding=padding,
            dilation_rate=dilation_rate,
            data_format=data_format,
        )
        for group_inputs, group_kernel in zip(
            ops.split(inputs, groups, axis=channels),
            ops.split(kernel, groups, axis=-1),
            strict=True,
        )
    ]
    return ops.concatenate(outputs, axis=channels)
