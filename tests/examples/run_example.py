"""Runs an example and checks what it has trained.

As a program, `run_example.py NAME`, it does both for an example that needs a process of its own.
"""

import runpy
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

EXAMPLES = Path(__file__).parents[2] / "examples"
FIT = {"batch_size": 16, "shuffle": False, "verbose": 0}


def run(name):
    """What the names in an example stand for after it has run. Its loss must have fallen."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        values = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    finally:
        sys.path.remove(str(EXAMPLES))
    losses = values["losses"] if "losses" in values else values["history"].history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < 0.7 * losses[0], losses
    return values


def goes_on(values):
    """The model, saved and loaded with its optimizer, goes on as it would have done itself."""
    model, data = values["model"], (values["images"], values["targets"])
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        restored = keras.saving.load_model(f"{folder}/model.keras")
    expected, actual = (m.fit(*data, **FIT).history["loss"] for m in (model, restored))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def mirrored_strategy(values):
    """Two replicas train as one device does."""
    keras.utils.set_random_seed(0)
    model = values["small_detector"]()
    model.compile("adam", loss=values["loss"])
    losses = model.fit(values["images"], values["targets"], epochs=10, **FIT).history["loss"]
    np.testing.assert_allclose(values["history"].history["loss"], losses, rtol=1e-3)
    with values["strategy"].scope():
        goes_on(values)


CHECKS = {"mirrored_strategy": mirrored_strategy, "backends": goes_on}

if __name__ == "__main__":
    name = sys.argv[1]
    CHECKS[name](run(name))
