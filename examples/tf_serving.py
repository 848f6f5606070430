"""A detector behind TensorFlow Serving: train, export, and what to send it.

    python examples/tf_serving.py

writes `saved_models/rectangles/1` (2 the next time), `saved_models/request.json`, and what a server
would answer. To have one do it:

    docker run -p 8501:8501 -v "$PWD/saved_models/rectangles:/models/rectangles" \
        -e MODEL_NAME=rectangles tensorflow/serving
    curl -d @saved_models/request.json http://localhost:8501/v1/models/rectangles:predict

It answers {"predictions": [...]}, for each image `boxes` as x1, y1, x2, y2 in its own pixels,
`scores`, `classes` and `num_detections`; what lies beyond these is filled with -1.
"""

import base64
import json
from pathlib import Path

import keras
import tensorflow as tf
from drawn_rectangles import draw

from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models import SSD
from harmonic_tf.training.labels import Labels
from harmonic_tf.training.serving.saved_model import export_model

keras.utils.set_random_seed(0)
images, boxes, classes = draw()
model = SSD.from_preset("ssd_tiny", num_classes=3, image_size=(64, 64), max_detections=5)

# The one line.
loss = HarmonicDetLoss()

model.compile(optimizer="adam", loss=loss)
objects = {"boxes": boxes[:, None], "classes": classes[:, None]}
history = model.fit(255 * images, objects, batch_size=16, epochs=10, verbose=2)

labels = Labels(class_names=("red", "green", "blue"), category_ids=(1, 2, 3))
folder = export_model(model, labels, "saved_models", name="rectangles")

# A request by REST is JSON; image files go into it as base64, one for each instance.
files = [tf.io.encode_png(tf.cast(255 * image, tf.uint8)).numpy() for image in images[:2]]
instances = [{"b64": base64.b64encode(file).decode()} for file in files]
request = Path("saved_models/request.json")
request.write_text(json.dumps({"instances": instances}))

# What the server does with it: decode, call the signature, one dictionary for each instance.
serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
received = json.loads(request.read_text())["instances"]
found = serve(images=tf.constant([base64.b64decode(one["b64"]) for one in received]))
predictions = [
    {name: values[i].numpy().tolist() for name, values in found.items()}
    for i in range(len(received))
]
for prediction in predictions:
    print(json.dumps(prediction))
