"""TensorFlow Model Garden's RetinaNet, trained with HarmonicDet.

    python examples/model_garden.py

Its labels and outputs are dictionaries of feature levels. The loss is called directly, in place of
what `build_losses` of `official/vision/tasks/retinanet.py` adds up; only tensors pass, so that it
does not matter that its models are made by tf_keras. On several replicas multiply it there by
`tf.distribute.get_strategy().num_replicas_in_sync`: its `train_step` divides by that, and
HarmonicDet has already divided by the positives of all replicas.
"""

import keras
import numpy as np
import tensorflow as tf
from drawn_rectangles import CLASSES, anchor_grid, draw, features, match, offsets
from keras import layers

from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw()
anchors = np.concatenate([anchor_grid(8, 16), anchor_grid(16, 28)])
first = 8 * 8  # how many anchors the first level has

# As its AnchorLabeler writes labels, y before x; an ignored anchor is one of weight 0.
learned = match(boxes, classes, anchors)
deltas = offsets(boxes, anchors, variance=(1, 1, 1, 1))[..., [1, 0, 3, 2]].astype("float32")
class_targets = np.maximum(learned, -1)
labels = {
    "cls_targets": {
        "3": class_targets[:, :first].reshape(-1, 8, 8, 1),
        "4": class_targets[:, first:].reshape(-1, 4, 4, 1),
    },
    "box_targets": {
        "3": deltas[:, :first].reshape(-1, 8, 8, 4),
        "4": deltas[:, first:].reshape(-1, 4, 4, 4),
    },
    "cls_weights": (learned != -2).astype("float32"),
    "box_weights": (learned >= 0).astype("float32"),
}

# A small model that returns what its RetinaNetModel does in training.
inputs = keras.Input((64, 64, 3))
finer = features(inputs)
maps = {"3": finer, "4": layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(finer)}
prior = keras.initializers.Constant(-np.log(99))
cls_outputs = {
    level: layers.Conv2D(CLASSES, 3, padding="same", bias_initializer=prior)(x)
    for level, x in maps.items()
}
box_outputs = {level: layers.Conv2D(4, 3, padding="same")(x) for level, x in maps.items()}
model = keras.Model(inputs, {"cls_outputs": cls_outputs, "box_outputs": box_outputs})

# The one line. Before: its focal loss + 50 * its Huber loss, in build_losses
loss = HarmonicDetLoss(layout="model_garden")

optimizer = keras.optimizers.Adam()


@tf.function
def train_step(images, labels):
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        total_loss = loss(labels, outputs)
    gradients = tape.gradient(total_loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return total_loss


batches = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(64, seed=0).batch(16)
losses = []
for epoch in range(10):
    losses.append(np.mean([train_step(*batch) for batch in batches]))
    print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}")
