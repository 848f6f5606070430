"""KerasCV's RetinaNet, trained with HarmonicDet.

    python examples/keras_cv_retinanet.py

The detector, its label encoder, its decoder and the form of the data are KerasCV's; `harmonize`
gives it one loss that sees boxes and classes together.
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

backbone = keras_cv.models.ResNetBackbone(
    stackwise_filters=[16, 32, 64, 128],
    stackwise_blocks=[1, 1, 1, 1],
    stackwise_strides=[1, 2, 2, 2],
    include_rescaling=True,
    input_shape=(64, 64, 3),
)
retinanet = keras_cv.models.RetinaNet(backbone, CLASSES, bounding_box_format="xyxy")

# The one line. Before: retinanet.compile(box_loss="smoothl1", classification_loss="focal")
model, loss = harmonize(retinanet), HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=8, epochs=4, verbose=2)

# As KerasCV's guide has it: a decoder of one's own, at any time.
model.prediction_decoder = keras_cv.layers.NonMaxSuppression(
    bounding_box_format="xyxy", from_logits=True, confidence_threshold=0.05
)
found = model.predict(images, verbose=0)
