"""Run as a process of its own: a step on two logical CPU devices is a step on one.

The argument says of which detector, `retinanet`, `yolov8` or `faster_rcnn`.
"""

import sys
import warnings

import keras
import numpy as np
import others
import tensorflow as tf

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss


def step(build, strategy):
    """What a step makes of the weights, and its losses; objects are spread unevenly."""
    images = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")
    boxes = np.full((4, 2, 4), -1, "float32")
    boxes[0] = [[4, 4, 40, 40], [20, 10, 60, 60]]
    boxes[3, 0] = [10, 20, 50, 60]
    classes = np.where(boxes[..., 0] < 0, -1, [1, 2]).astype("float32")
    keras.utils.set_random_seed(0)
    with strategy.scope():
        detector = build()
        for layer in detector._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # its statistics are of a replica's own images
    model = harmonize(detector)  # outside the scope: it is the detector's
    with strategy.scope():
        model.compile(keras.optimizers.SGD(1e-3), loss=HarmonicDetLoss())
    dataset = tf.data.Dataset.from_tensor_slices((images, {"boxes": boxes, "classes": classes}))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    loss = model.fit(
        dataset.batch(4, drop_remainder=True).with_options(options), verbose=0, shuffle=False
    ).history
    return loss, model.get_weights()


def sample_the_first():
    """Lets KerasCV's Faster R-CNN sample the same, for two replicas draw otherwise than one."""
    from keras_cv.src.layers.object_detection import sampling

    sampling.random.uniform = lambda shape, **_: keras.ops.zeros(shape)


def main():
    warnings.filterwarnings("ignore")
    # Each graph is run once: it is not worth optimising.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    build = getattr(others, sys.argv[1])
    if build is others.faster_rcnn:
        sample_the_first()
    one = tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    (loss, weights), (other_loss, other_weights) = (
        step(build, strategy) for strategy in (one, two)
    )
    for key in ("loss", "box_loss", "inconsistency"):
        np.testing.assert_allclose(other_loss[key], loss[key], rtol=1e-5, err_msg=key)
    for expected, received in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    main()
