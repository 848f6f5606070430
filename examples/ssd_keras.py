"""pierluigiferrari/ssd_keras, trained with HarmonicDet.

    python examples/ssd_keras.py

Its models return scores after a softmax, the background first, then offsets, and 8 numbers of each
anchor. Its encoder writes targets alike; an ignored anchor has a class row of zeros. The layout has
the variances of its SSD300 and SSD512; those of SSD7 are 1 by default:
`dataclasses.replace(harmonic_tf.layouts.LAYOUTS["ssd_keras"], box_variance=1.0)` is its layout.
"""

import keras
import numpy as np
from drawn_rectangles import (
    CLASSES,
    anchor_grid,
    draw,
    features,
    match,
    offsets,
    one_hot,
    predict_rows,
)

from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw()
anchors = anchor_grid(8, 16, 28)
variances = (0.1, 0.1, 0.2, 0.2)


@keras.saving.register_keras_serializable("ssd_keras")
class AnchorBoxes(keras.layers.Layer):
    """Centre and size of each anchor and the variances, (B, A, 8), for those who decode."""

    def call(self, offsets):
        low, high = anchors[:, :2], anchors[:, 2:]
        rows = np.broadcast_to(np.array(variances, "float32"), anchors.shape)
        rows = np.concatenate([(low + high) / 2, high - low, rows], axis=-1)
        return keras.ops.broadcast_to(rows, (keras.ops.shape(offsets)[0], *rows.shape))


# As its SSDInputEncoder writes targets: (B, A, 1 + C + 4 + 8).
learned = match(boxes, classes, anchors)
class_targets = one_hot(learned + 1, 1 + CLASSES)
box_targets = offsets(boxes, anchors, variances)
targets = np.concatenate([class_targets, box_targets, np.zeros((*learned.shape, 8))], axis=-1)

# A small model that returns what its SSD does: (B, A, 1 + C + 4 + 8).
inputs = keras.Input((64, 64, 3))
x = features(inputs)
class_outputs = keras.layers.Softmax()(predict_rows(x, anchors=2, width=1 + CLASSES))
box_outputs = predict_rows(x, anchors=2, width=4)
outputs = keras.layers.Concatenate()([class_outputs, box_outputs, AnchorBoxes()(box_outputs)])
model = keras.Model(inputs, outputs)

# The one line. Before: loss=SSDLoss(neg_pos_ratio=3, alpha=1.0).compute_loss
loss = HarmonicDetLoss(layout="ssd_keras", negative_ratio=3)

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
