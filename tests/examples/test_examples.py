"""Each example trains, and what it has trained goes on after it was saved."""

import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from run_example import EXAMPLES, goes_on, run

from harmonic_tf.boxes import decode

HERE = Path(__file__).parent
LAYOUTS = ["keras_io_retinanet", "ssd_keras", "ssd_tf2", "keras_retinanet", "efficientdet"]
# Which of two outputs are the boxes and which the classes.
JOINED = {"keras_retinanet": (0, 1), "efficientdet": (1, 0)}


def run_in_a_process(name, backend="tensorflow"):
    """Runs and checks an example; warnings are errors there, too, but for setup.cfg's."""
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    ignored = "ignore:__array__ implementation:DeprecationWarning"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", ignored, str(HERE / "run_example.py"), name],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name):
    values = run(name)
    assert values["loss"].get_config()["layout"] == name
    goes_on(values)
    if name in JOINED:
        apart = values[name.removeprefix("keras_")].predict(values["images"], verbose=0)
        joined = values["model"].predict(values["images"], verbose=0)
        parts = [apart[i] for i in JOINED[name]]
        np.testing.assert_array_equal(joined, np.concatenate(parts, axis=-1))


def test_model_garden():
    values = run("model_garden")
    assert values["loss"].get_config()["layout"] == "model_garden"


def test_custom_loop():
    values = run("custom_loop")
    assert 0 < float(values["aic"].result()) < 1


@pytest.fixture
def dtype_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def test_mixed_precision(dtype_policy):
    values = run("mixed_precision")
    assert values["model"].output.dtype == "float16"
    assert isinstance(values["model"].optimizer, keras.optimizers.LossScaleOptimizer)
    goes_on(values)


def test_backends():
    goes_on(run("backends"))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert f"Keras runs on {backend}." in run_in_a_process("backends", backend)


def test_mirrored_strategy():
    run_in_a_process("mirrored_strategy")


def test_tf_serving(tmp_path, monkeypatch):
    """What the server would answer is what the model predicts for the images of the request."""
    monkeypatch.chdir(tmp_path)
    values = run("tf_serving")
    assert (tmp_path / "saved_models/rectangles/1/saved_model.pb").is_file()
    request = json.loads((tmp_path / "saved_models/request.json").read_text())
    files = [base64.b64decode(instance["b64"]) for instance in request["instances"]]
    images = np.stack([tf.io.decode_png(file).numpy() for file in files])
    np.testing.assert_allclose(images, 255 * values["images"][:2], atol=1)
    expected = values["model"].predict(images.astype("float32"), verbose=0)
    for i, answer in enumerate(values["predictions"]):
        assert answer["num_detections"] == expected["num_detections"][i] > 0
        np.testing.assert_allclose(answer["boxes"], expected["boxes"][i], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(answer["scores"], expected["confidence"][i], rtol=1e-4)
        assert answer["classes"] == expected["classes"][i].tolist()


def test_targets_are_those_of_the_library(monkeypatch):
    """Every kind of row is among them, and offsets are what the library decodes."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from drawn_rectangles import anchor_grid, draw, match, offsets

    images, boxes, classes = draw()
    anchors = anchor_grid(8, 16, 28)
    assert anchors[:2].tolist() == [[-4, -4, 12, 12], [-10, -10, 18, 18]]
    learned = match(boxes, classes, anchors)
    assert set(np.unique(learned)) == {-2, -1, 0, 1, 2}
    assert (learned.max(axis=1) == classes).all()
    variance = (0.1, 0.1, 0.2, 0.2)
    decoded = decode(offsets(boxes, anchors, variance)[..., [1, 0, 3, 2]], anchors, variance)
    assert decoded.shape == (64, 128, 4)
    np.testing.assert_allclose(decoded, np.tile(boxes[:, None], (1, 128, 1)), atol=1e-3)
    x1, y1, x2, y2 = boxes[0].astype(int)
    assert (images[0, y1:y2, x1:x2, classes[0]] == 1).all() and images[0].min() < 0.3


def test_every_example_is_in_the_table_and_is_run():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("*.py"))
    for script in EXAMPLES.glob("*.py"):
        assert f"[`{script.name}`]({script.name})" in table
        assert f'"{script.stem}"' in tests or script.stem == "drawn_rectangles"
