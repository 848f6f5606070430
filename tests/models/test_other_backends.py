"""Our own detectors train and predict on every backend of Keras that is installed."""

import importlib.util
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numpy as np
import keras
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models import from_preset

keras.utils.set_random_seed(0)
count = int(sys.argv[2])
model = from_preset(sys.argv[1], num_classes=count, image_size=(64, 64), max_detections=5)
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=HarmonicDetLoss(**model.loss_settings))
images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
targets = {
    "boxes": np.array([[[4, 4, 40, 40]], [[-1] * 4]], "float32"),
    "classes": np.array([[count - 1], [-1]], "float32"),
    "masks": np.array([[np.ones((56, 56))], [np.zeros((56, 56))]], "float32"),
}
if not model.has_masks:
    del targets["masks"]
history = model.fit(images, targets, batch_size=2, epochs=8, verbose=0).history
assert history["loss"][-1] < 0.6 * history["loss"][0], history["loss"]
assert 0 < history["inconsistency"][-1] < 1
found = model.predict(images, verbose=0)
shapes = {"boxes": (2, 5, 4), "confidence": (2, 5), "classes": (2, 5), "num_detections": (2,)}
shapes |= {"masks": (2, 5, 28, 28)} if model.has_masks else {}
assert {key: value.shape for key, value in found.items()} == shapes
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
# Between them they have every kind of stage and of targets, and every branch.
@pytest.mark.parametrize(
    ("preset", "num_classes"),
    [("refinedet_tiny", 2), ("fcos_tiny", 1), ("fsaf_tiny", 2), ("cascade_mask_rcnn_tiny", 2)],
)
def test_trains_and_predicts(backend, preset, num_classes):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    subprocess.run(
        [sys.executable, "-c", SCRIPT, preset, str(num_classes)],
        check=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
