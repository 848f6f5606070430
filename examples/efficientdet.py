"""xuannianz/EfficientDet and bubbliiiing's efficientdet-tf2, trained with HarmonicDet.

    python examples/efficientdet.py

Their model has two outputs, offsets and scores after a sigmoid. Keras would give each to a loss of
its own; HarmonicDet is one loss of both, so they are joined side by side, the offsets first, and so
are their targets. Each target ends in a state: 1 an object, 0 background, -1 ignored.
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

# As its `anchor_targets_bbox` writes targets, y before x: (B, A, C + 1) and (B, A, 4 + 1).
learned = match(boxes, classes, anchors)
state = np.sign(learned + 1)[..., None]
deltas = offsets(boxes, anchors, variance=(1, 1, 1, 1))[..., [1, 0, 3, 2]]
class_targets = np.concatenate([one_hot(learned, CLASSES), state], axis=-1)
regression_targets = np.concatenate([deltas, state], axis=-1)

# A small model that returns what its EfficientDet does: (B, A, C) and (B, A, 4).
inputs = keras.Input((64, 64, 3))
x = features(inputs)
scores = predict_rows(x, anchors=2, width=CLASSES, bias=-np.log(99))
classification = keras.layers.Activation("sigmoid")(scores)
regression = predict_rows(x, anchors=2, width=4)
efficientdet = keras.Model(inputs, [classification, regression])

# Joined: the weights are the model's own, so that it is trained along.
classification, regression = efficientdet.outputs
joined = keras.layers.Concatenate()([regression, classification])
model = keras.Model(efficientdet.inputs, joined)
targets = np.concatenate([regression_targets, class_targets], axis=-1)

# The one line. Before: loss={"regression": smooth_l1(), "classification": focal()}
loss = HarmonicDetLoss(layout="efficientdet")

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
