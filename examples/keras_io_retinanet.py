"""The RetinaNet of keras-io's examples, trained with HarmonicDet.

    python examples/keras_io_retinanet.py

`examples/vision/retinanet.py` of keras-team/keras-io returns one tensor: offsets, then logits of
the classes. Its label encoder writes a class index, -1 for background and -2 for an ignored anchor.
"""

import keras
import numpy as np
from drawn_rectangles import CLASSES, anchor_grid, draw, features, match, offsets, predict_rows

from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw()
anchors = anchor_grid(8, 16, 28)

# As its LabelEncoder writes targets: (B, A, 4 + 1).
box_targets = offsets(boxes, anchors, variance=(0.1, 0.1, 0.2, 0.2))
class_targets = match(boxes, classes, anchors)[..., None]
targets = np.concatenate([box_targets, class_targets], axis=-1)

# A small model that returns what its RetinaNet does: (B, A, 4 + C).
inputs = keras.Input((64, 64, 3))
x = features(inputs)
box_outputs = predict_rows(x, anchors=2, width=4)
class_outputs = predict_rows(x, anchors=2, width=CLASSES, bias=-np.log(99))
model = keras.Model(inputs, keras.layers.Concatenate()([box_outputs, class_outputs]))

# The one line. Before: loss=RetinaNetLoss(num_classes)
loss = HarmonicDetLoss(layout="keras_io_retinanet")

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=16, epochs=10, verbose=2)
