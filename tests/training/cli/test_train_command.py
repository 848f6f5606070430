"""A real detector trained by the program, and all that came out opened again."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from harmonic_tf.training import cli
from harmonic_tf.training.labels import load_model_and_labels


def main(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


def test_what_train_leaves_can_be_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert not main(
        "train", "--data", "shapes:train=4,val=2", "--output", "run", "--image-size", "64", "64",
        "--epochs", "1", "--batch-size", "2",
    )  # fmt: skip
    folder = tmp_path / "run"
    assert "run: ssd_tiny with harmonic_det on " in capsys.readouterr().out
    model, labels = load_model_and_labels(folder)
    assert model.image_size == (64, 64) and labels.class_names == ("blob", "ring", "cross")
    metrics = json.loads((folder / "metrics.json").read_text())
    with (folder / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["AP"]) == metrics["AP"] and float(row["loss"]) > 0
    sheets = [folder / "predictions.png", *sorted((folder / "figures").glob("*.png"))]
    assert "curves.png" in [file.name for file in sheets]
    for file in sheets:
        with Image.open(file) as image:
            assert np.asarray(image.convert("L")).std() > 1, file

    serve = tf.saved_model.load("saved_models/run/1").signatures["serving_default"]
    image = np.full((48, 40, 3), 200, np.uint8)
    found = serve(images=tf.stack([tf.io.encode_png(image)]))
    assert found["boxes"].shape == (1, model.decoding["max_detections"], 4)
    assert (tmp_path / "saved_models/run/1/recipe.yaml").read_bytes() == (
        folder / "recipe.yaml"
    ).read_bytes()


def start(*arguments):
    command = [sys.executable, "-m", "harmonic_tf.training.cli", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def results(folder):
    """All that a run's result consists of; the time that an epoch took does not count."""
    with (folder / "history.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if not k.endswith("seconds")}
            for row in csv.DictReader(file)
        ]
    texts = [(folder / name).read_text() for name in ("metrics.json", "details.json")]
    files = [load_model_and_labels(folder / f"{name}.keras")[0] for name in ("model", "best")]
    return rows, texts, [[w.tobytes() for w in model.get_weights()] for model in files]


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on_bit_for_bit(tmp_path):
    flags = [
        "--data", "shapes:train=12,val=4", "--image-size", 64, 64, "--epochs", 8, "--batch-size", 2,
        "--evaluate-every", 2, "--checkpoint-minutes", 0.005, "--no-extras",
    ]  # fmt: skip
    begun = time.monotonic()
    assert start(*flags, "--output", tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - begun
    whole = results(tmp_path / "whole")
    for number in range(10):
        folder = tmp_path / f"killed-{number}"
        process = start(*flags, "--output", folder)
        time.sleep(random.uniform(0.2, 1.0) * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        begun = (folder / "recipe.yaml").exists()
        again = ["--resume", folder, "--no-extras"] if begun else [*flags, "--output", folder]
        assert start(*again).wait() == 0
        assert results(folder) == whole
        assert not [file for file in folder.iterdir() if file.name.startswith(".")]
