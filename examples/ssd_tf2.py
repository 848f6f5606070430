"""bubbliiiing's ssd-tf2 and ssd-keras, trained with HarmonicDet.

    python examples/ssd_tf2.py

Their model returns offsets, then scores after a softmax, the background first. Their data loader
writes a last column, 1 where the anchor has an object, and ignores no anchor.
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

# As their `assign_boxes` writes targets: (B, A, 4 + 1 + C + 1).
learned = np.maximum(match(boxes, classes, anchors), -1)
has_object = (learned >= 0)[..., None]
box_targets = has_object * offsets(boxes, anchors, variance=(0.1, 0.1, 0.2, 0.2))
class_targets = one_hot(learned + 1, 1 + CLASSES)
targets = np.concatenate([box_targets, class_targets, has_object], axis=-1)

# A small model that returns what their SSD300 does: (B, A, 4 + 1 + C).
inputs = keras.Input((64, 64, 3))
x = features(inputs)
box_outputs = predict_rows(x, anchors=2, width=4)
class_outputs = keras.layers.Softmax()(predict_rows(x, anchors=2, width=1 + CLASSES))
model = keras.Model(inputs, keras.layers.Concatenate()([box_outputs, class_outputs]))

# The one line. Before: loss=MultiboxLoss(num_classes, neg_pos_ratio=3.0).compute_loss
loss = HarmonicDetLoss(layout="ssd_tf2", negative_ratio=3)

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
