"""KerasCV's YOLOV8, trained with HarmonicDet.

    python examples/keras_cv_yolov8.py

Its label encoder gives soft class targets, higher for better anchors. HarmonicDet reads them hard:
an anchor with a target over 0 is a positive of that class, all others are background.
"""

import keras
import keras_cv
from drawn_rectangles import CLASSES, draw

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw(16)
images = 255 * images
targets = {"boxes": boxes[:, None], "classes": classes[:, None].astype("float32")}

backbone = keras_cv.models.YOLOV8Backbone(
    stackwise_channels=[16, 32, 48, 64],
    stackwise_depth=[1, 1, 1, 1],
    include_rescaling=True,
    input_shape=(64, 64, 3),
)
yolov8 = keras_cv.models.YOLOV8Detector(backbone, CLASSES, bounding_box_format="xyxy", fpn_depth=1)

# The one line. Before: yolov8.compile(box_loss="ciou", classification_loss="binary_crossentropy")
model, loss = harmonize(yolov8), HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=8, epochs=6, verbose=2)
found = model.predict(images, verbose=0)
