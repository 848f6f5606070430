"""HarmonicDet on JAX, PyTorch or TensorFlow: whichever Keras runs on.

    KERAS_BACKEND=jax python examples/backends.py
    KERAS_BACKEND=torch python examples/backends.py

Without KERAS_BACKEND it is TensorFlow. The others are `pip install jax` and `pip install torch`.
"""

import keras
from drawn_rectangles import small_detector, training_data

from harmonic_tf.losses import HarmonicDetLoss

print(f"Keras runs on {keras.config.backend()}.")
keras.utils.set_random_seed(0)
images, targets = training_data()
model = small_detector()

# The one line.
loss = HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
