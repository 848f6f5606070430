"""Faster R-CNN of keras-cv-nightly, trained with HarmonicDet.

    pip install keras-cv-nightly    # in an environment of its own: it takes KerasCV's place
    python examples/keras_cv_nightly_faster_rcnn.py

The Faster R-CNN of KerasCV 0.9 trains on Keras 2 only. Classes are counted from 1, as it counts
them. HarmonicDet is the loss of its head; its RPN has the standard one.
"""

import keras
import keras_cv
from drawn_rectangles import CLASSES, draw

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw(8)
images = 255 * images
targets = {"boxes": boxes[:, None], "classes": 1 + classes[:, None].astype("float32")}

backbone = keras_cv.models.ResNetBackbone(
    stackwise_filters=[16, 32, 64, 128],
    stackwise_blocks=[1, 1, 1, 1],
    stackwise_strides=[1, 2, 2, 2],
    include_rescaling=True,
    input_shape=(64, 64, 3),
)
faster_rcnn = keras_cv.models.FasterRCNN(
    backbone, CLASSES, bounding_box_format="xyxy", num_sampled_rois=64
)

# The one line. Before: faster_rcnn.compile(rpn_box_loss=..., rpn_classification_loss=..., ...)
model, loss = harmonize(faster_rcnn), HarmonicDetLoss()

model.compile(keras.optimizers.Adam(3e-4), loss=loss)
history = model.fit(images, targets, batch_size=4, epochs=8, verbose=2)
found = model.predict(images, verbose=0)
