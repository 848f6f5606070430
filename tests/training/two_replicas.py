"""Run as a process of its own: a step on two logical CPU devices is a step on one.

With names of presets as arguments it is a step of those.
"""

import functools
import sys

import keras
import numpy as np
import tensorflow as tf
from toy_detector import ToyBatches, compiled, untuned

from harmonic_tf import models
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models.heads import head_network
from harmonic_tf.models.two_stage import TwoStage
from harmonic_tf.training.loop import Loop
from harmonic_tf.training.optimizers import AdamW


def sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1)


def adamw():
    return keras.optimizers.AdamW(0.01, weight_decay=0.1)


def toy(optimizer):
    return compiled(optimizer())


def toy_with_a_slow_kernel(optimizer):
    model = compiled()
    slow = model.trainable_variables[:1]
    model.compile(optimizer=optimizer(0.01, decay=0.1, slow=slow, factor=0.1))
    return model


def ssd(optimizer):
    return detector("ssd_tiny", optimizer)


def fcos(optimizer):
    return detector("fcos_tiny", optimizer)


def mask_rcnn(optimizer):
    return detector("mask_rcnn_tiny", optimizer, **EVERYTHING)


# So many regions that all that can be is sampled, whatever the random order.
EVERYTHING = {"rpn_batch_size_per_image": 255, "head_batch_size_per_image": 1000}


def detector(preset, optimizer, **settings):
    keras.utils.set_random_seed(0)
    model = models.from_preset(preset, 2, **{"image_size": (64, 64), **settings})
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # a replica's statistics are of its own part of the batch
    model.compile(optimizer=optimizer(), loss=HarmonicDetLoss(**model.loss_settings))
    return model


class UnevenBatches:
    """One batch of four images: 3, 2, 0 and 0 objects."""

    steps_per_epoch = 1

    def __call__(self, epoch):
        random = np.random.default_rng(epoch)
        images = random.uniform(0, 255, (4, 64, 64, 3)).astype("float32")
        corners = random.uniform(0, 30, (4, 3, 2))
        boxes = np.concatenate([corners, corners + random.uniform(12, 30, (4, 3, 2))], -1)
        there = np.arange(3) < np.array([3, 2, 0, 0])[:, None]
        labels = {
            "boxes": np.where(there[..., None], boxes, -1.0).astype("float32"),
            "classes": np.where(there, [0.0, 1.0, 0.0], -1.0).astype("float32"),
            "masks": random.integers(0, 2, (4, 3, 28, 28)).astype("float32"),
        }
        return untuned(tf.data.Dataset.from_tensor_slices((images, labels)).batch(4))


class UnevenMaps:
    """Feature maps of those images, as `ssd_tiny` has them."""

    steps_per_epoch = 1

    def __call__(self, epoch):
        random = np.random.default_rng(epoch)
        maps = tuple(
            random.normal(size=(4, size, size, channels)).astype("float32")
            for size, channels in ((8, 64), (4, 96), (2, 160))
        )
        ((_, labels),) = UnevenBatches()(epoch)
        return untuned(tf.data.Dataset.from_tensor_slices((maps, labels)).batch(4))


def train(strategy, build, optimizer, batches, clip_norm, network=lambda model: None):
    """Weights before and after, and the logs of the epoch."""
    with strategy.scope():
        model = build(optimizer)
    before, logs = model.get_weights(), {}
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, epoch: logs.update(epoch))
    assert Loop(model, clip_norm, strategy, network(model)).run(batches, epochs=1, callbacks=[keep])
    return before, model.get_weights(), logs


def compare(*arguments):
    before, one, one_logs = train(tf.distribute.get_strategy(), *arguments)
    same, two, two_logs = train(mirrored, *arguments)
    for start, again, a, b in zip(before, same, one, two, strict=True):
        np.testing.assert_array_equal(start, again)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    moved = max(np.abs(a - start).max() for a, start in zip(one, before, strict=True))
    assert moved > 1e-4, moved
    assert one_logs.keys() == two_logs.keys()
    for name in one_logs:
        np.testing.assert_allclose(one_logs[name], two_logs[name], rtol=1e-5, err_msg=name)


if __name__ == "__main__":
    # Each graph is run once: it is not worth optimising.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert mirrored.num_replicas_in_sync == 2
    for preset in sys.argv[1:]:
        settings = EVERYTHING if issubclass(models.PRESETS[preset], TwoStage) else {}
        compare(functools.partial(detector, preset, **settings), sgd, UnevenBatches(), 0.1)
    if sys.argv[1:]:
        sys.exit()
    # The first replica, which gets the first half of each batch, has all positives but one.
    uneven = {"positives": [4, 3, 1, 0]}
    compare(toy, sgd, ToyBatches(steps_per_epoch=1, **uneven), 1e9)
    compare(toy, sgd, ToyBatches(steps_per_epoch=1, **uneven), 0.01)
    compare(toy, adamw, ToyBatches(steps_per_epoch=3, **uneven), 0.01)
    compare(toy_with_a_slow_kernel, AdamW, ToyBatches(steps_per_epoch=3, **uneven), 0.01)
    compare(ssd, sgd, UnevenMaps(), 0.1, head_network)
    compare(fcos, sgd, UnevenBatches(), 0.1)
    compare(mask_rcnn, sgd, UnevenBatches(), 0.1)
