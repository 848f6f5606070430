"""HarmonicDet on several devices at once, by tf.distribute.MirroredStrategy.

    python examples/mirrored_strategy.py

The loss divides by the positives of all replicas together: a step on n of them is the step that one
would take on the whole batch, however the objects are spread. There is nothing to divide or scale.
"""

import keras
import tensorflow as tf
from drawn_rectangles import small_detector, training_data

from harmonic_tf.losses import HarmonicDetLoss

kind = "GPU"
if len(tf.config.list_physical_devices("GPU")) < 2:  # then two halves of the CPU will do
    kind, halves = "CPU", [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
strategy = tf.distribute.MirroredStrategy(
    [device.name for device in tf.config.list_logical_devices(kind)]
)

keras.utils.set_random_seed(0)
images, targets = training_data()
with strategy.scope():
    model = small_detector()
    # The one line.
    loss = HarmonicDetLoss()
    model.compile(optimizer="adam", loss=loss)

# 16 images a step, of all replicas together.
history = model.fit(images, targets, batch_size=16, epochs=10, shuffle=False, verbose=2)
