"""KerasHub's RetinaNet, trained with HarmonicDet (`pip install keras-hub`).

    python examples/keras_hub_retinanet.py

KerasHub 0.32 builds it with the prior of its class head on its box head, so that the first loss is
very high; `repair_prior=True` moves it. A pretrained one needs no repair.
"""

import keras
import keras_hub
from drawn_rectangles import CLASSES, draw

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss

keras.utils.set_random_seed(0)
images, boxes, classes = draw(16)
targets = {"boxes": boxes[:, None], "labels": classes[:, None].astype("float32")}

encoder = keras_hub.models.ResNetBackbone(
    input_conv_filters=[64],
    input_conv_kernel_sizes=[7],
    stackwise_num_filters=[64, 64, 64, 64],
    stackwise_num_blocks=[1, 1, 1, 1],
    stackwise_num_strides=[1, 2, 2, 2],
    block_type="basic_block",
    image_shape=(64, 64, 3),
)
backbone = keras_hub.models.RetinaNetBackbone(
    encoder, min_level=3, max_level=5, use_p5=True, image_shape=(64, 64, 3)
)
retinanet = keras_hub.models.RetinaNetObjectDetector(
    backbone, CLASSES, bounding_box_format="xyxy", pre_logits_num_conv_layers=1
)

# The one line. Before: retinanet.compile(box_loss=..., classification_loss=...)
model, loss = harmonize(retinanet, repair_prior=True), HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
history = model.fit(images, targets, batch_size=8, epochs=4, verbose=2)
found = model.predict(images, verbose=0)
