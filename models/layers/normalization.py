"""Batch normalisation."""

import keras


@keras.saving.register_keras_serializable(package="harmonic_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation of feature maps `(B, H, W, F)`, with TensorFlow's own kernel.

    In training Keras composes it of ten operations, each of which reads or writes the whole map;
    the one kernel is faster (`benchmarks/normalization.py`). The values are the same up to
    rounding. Where statistics are not learned, in float64, on other backends and for whatever the
    kernel has no place for (another axis, masks, renormalisation, ...) Keras's own `call` is used.

    Example:

    >>> layer = BatchNormalization(momentum=0.9)
    >>> tuple(layer(np.zeros((1, 2, 2, 3)), training=True).shape)
    (1, 2, 2, 3)
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self._has_kernel(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
        biased = variance * (count - 1) / count  # as Keras has it
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return normalized

    def _has_kernel(self, inputs):
        return (
            keras.backend.backend() == "tensorflow"
            and self.compute_dtype != "float64"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and not self.synchronized
            and not getattr(self, "renorm", False)  # not in every Keras 3
        )
