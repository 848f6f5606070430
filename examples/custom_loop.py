"""A training loop of your own: HarmonicDet with GradientTape, and what it is made of.

    python examples/custom_loop.py

`with_parts` gives the loss and, without a second pass, what it is made of: the score p and the IoU
of every positive among them, which HarmonicDet trains to agree.
"""

import keras
import numpy as np
import tensorflow as tf
from drawn_rectangles import small_detector, training_data

from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.metrics import InconsistencyCoefficient

keras.utils.set_random_seed(0)
images, targets = training_data()
model = small_detector()
optimizer = keras.optimizers.Adam()
aic = InconsistencyCoefficient()  # the mean of |p - IoU|

# The one line.
loss = HarmonicDetLoss()


@tf.function
def train_step(images, targets):
    with tf.GradientTape() as tape:
        predictions = model(images, training=True)
        value, parts = loss.with_parts(targets, predictions)
    gradients = tape.gradient(value, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    aic.update_from_parts(parts)
    return value


batches = tf.data.Dataset.from_tensor_slices((images, targets)).shuffle(64, seed=0).batch(16)
losses = []
for epoch in range(10):
    aic.reset_state()
    losses.append(np.mean([train_step(*batch) for batch in batches]))
    print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, |p - IoU| {float(aic.result()):.4f}")
