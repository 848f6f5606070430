"""fizyr/keras-retinanet and bubbliiiing's retinanet-keras, trained with HarmonicDet.

    python examples/keras_retinanet.py

Their model has two outputs: offsets of the corners, and scores after a sigmoid. Keras would give
each to a loss of its own; HarmonicDet is one loss of both, so they are joined side by side, and so
are their targets. Each target ends in a state: 1 an object, 0 background, -1 ignored.
"""

import keras
import numpy as np
from drawn_rectangles import CLASSES, anchor_grid, draw, features, match, one_hot, predict_rows

from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw()
anchors = anchor_grid(8, 16, 28)

# As its `anchor_targets_bbox` writes targets: (B, A, 4 + 1) and (B, A, C + 1).
learned = match(boxes, classes, anchors)
state = np.sign(learned + 1)[..., None]
sizes = np.tile(anchors[:, 2:] - anchors[:, :2], 2)
corners = (boxes[:, None] - anchors) / sizes / 0.2
regression_targets = np.concatenate([corners, state], axis=-1)
class_targets = np.concatenate([one_hot(learned, CLASSES), state], axis=-1)

# A small model that returns what its RetinaNet does: (B, A, 4) and (B, A, C).
inputs = keras.Input((64, 64, 3))
x = features(inputs)
regression = predict_rows(x, anchors=2, width=4)
scores = predict_rows(x, anchors=2, width=CLASSES, bias=-np.log(99))
classification = keras.layers.Activation("sigmoid")(scores)
retinanet = keras.Model(inputs, [regression, classification])

# Joined: the weights are the model's own, so that it is trained along.
model = keras.Model(retinanet.inputs, keras.layers.Concatenate()(retinanet.outputs))
targets = np.concatenate([regression_targets, class_targets], axis=-1)

# The one line. Before: loss={"regression": smooth_l1(), "classification": focal()}
loss = HarmonicDetLoss(layout="keras_retinanet")

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
