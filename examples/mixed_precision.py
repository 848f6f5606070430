"""HarmonicDet with a network in half precision.

    python examples/mixed_precision.py

Nothing is to be done for it: the loss reads half-precision predictions as float32. Keras puts a
LossScaleOptimizer around the optimizer, which keeps small gradients from vanishing in float16.
`"mixed_bfloat16"` needs no scaling.
"""

import keras
from drawn_rectangles import small_detector, training_data

from harmonic_tf.losses import HarmonicDetLoss

keras.config.set_dtype_policy("mixed_float16")

keras.utils.set_random_seed(0)
images, targets = training_data()
model = small_detector()

# The one line.
loss = HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
