"""A whole run: what its folder holds, and that stopping and going on changes nothing."""

import csv
import json
import os
import signal
from dataclasses import replace

import keras
import numpy as np
import pytest
import yaml
from rectangles import EVEN, LeftHalfFinder, RectangleFinder, rectangle_data, with_left_halves
from toy_detector import ToyDetector

from harmonic_tf.training import train as train_module
from harmonic_tf.training.build import load_both
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.evaluation.average_precision import METRICS
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.labels import load_model_and_labels, read_labels
from harmonic_tf.training.recipe import Recipe, read_recipe
from harmonic_tf.training.train import new_folder, resume, train

RECIPE = Recipe(
    data="shapes:train=12,val=4", epochs=3, batch_size=4, learning_rate=0.01, evaluate_every=2
)


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        train_module, "build_model", lambda recipe, num_classes: ToyDetector(num_classes, 0.2)
    )


class InterruptAfter(keras.callbacks.Callback):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGINT)


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def weights(path):
    return keras.saving.load_model(path).get_weights()


def test_a_run_leaves_a_folder_with_all_that_came_out(tmp_path, capsys):
    run = train(RECIPE, tmp_path / "run", extras=False)
    assert run.finished
    assert {file.name for file in run.folder.iterdir()} == {
        "recipe.yaml", "labels.json", "history.csv", "tensorboard", "model.keras", "best.keras",
        "metrics.json", "details.json",
    }  # fmt: skip
    assert list((run.folder / "tensorboard").iterdir())
    assert read_labels(run.folder).class_names == ("blob", "ring", "cross")
    assert read_recipe(run.folder / "recipe.yaml") == run.recipe
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["epochs"] == 3

    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert list(metrics) == [*METRICS, "AIC"]
    model, _ = load_model_and_labels(run.folder)
    assert evaluate_model(model, load_both(run.recipe)[1]).metrics == metrics
    details = json.loads((run.folder / "details.json").read_text())
    assert details["mean_p"] == run.evaluation.mean_p
    assert set(details["per_class"]) == {"blob", "ring", "cross"}

    rows = history(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["AP"]) for row in rows] == [False, True, True]
    assert float(rows[-1]["AP"]) == metrics["AP"]
    assert {"loss", "box_loss", "learning_rate", "AIC"} <= set(rows[0])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == 3


def test_details_hold_the_masks_ap_of_each_class_where_there_is_one(tmp_path):
    data = with_left_halves(rectangle_data(EVEN))
    for model, expected in ((RectangleFinder(), None), (LeftHalfFinder(), 100.0)):
        evaluation = evaluate_model(model, data, progress=False)
        train_module.write_result(tmp_path, evaluation)
        details = json.loads((tmp_path / "details.json").read_text())
        assert details.get("segm_per_class", {}).get("blue") == expected


def test_the_same_seed_gives_the_same_run(tmp_path):
    for name in "ab":
        train(replace(RECIPE, epochs=1), tmp_path / name, extras=False)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    for one, other in zip(*(weights(tmp_path / n / "model.keras") for n in "ab"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_stopped_run_is_usable_and_goes_on_exactly(tmp_path, steps, capsys):
    whole = train(RECIPE, tmp_path / "whole", extras=False)
    stopped = train(RECIPE, tmp_path / "stopped", extras=False, callbacks=[InterruptAfter(steps)])
    assert not stopped.finished
    assert not (stopped.folder / "metrics.json").exists()
    load_model_and_labels(stopped.folder)
    assert f"harmonic-tf train --resume {stopped.folder}" in capsys.readouterr().out

    run = resume(stopped.folder, extras=False)
    assert run.finished
    assert run.evaluation.metrics == whole.evaluation.metrics
    assert history(run.folder) == history(whole.folder)
    for name in ("model.keras", "best.keras"):
        both = zip(weights(run.folder / name), weights(whole.folder / name), strict=True)
        for one, other in both:
            np.testing.assert_array_equal(one, other)


def test_going_on_with_a_finished_run_does_nothing(tmp_path, capsys):
    run = train(replace(RECIPE, epochs=1), tmp_path / "run", extras=False)
    before = (run.folder / "model.keras").stat().st_mtime_ns
    assert resume(run.folder).finished
    assert (run.folder / "model.keras").stat().st_mtime_ns == before
    assert "nothing left to do" in capsys.readouterr().out


def test_best_is_the_first_highest_ap(tmp_path, monkeypatch):
    found = iter([10.0, 30.0, 30.0, 20.0])
    calls = []

    class Scripted(train_module.Evaluator):
        def __call__(self, progress=True):
            result = super().__call__(progress)
            calls.append([w.copy() for w in self.model_for_test.get_weights()])
            return replace(result, metrics={**result.metrics, "AP": next(found)})

        def __init__(self, model, data, batch_size=8):
            self.model_for_test = model
            super().__init__(model, data, batch_size)

    monkeypatch.setattr(train_module, "Evaluator", Scripted)
    run = train(replace(RECIPE, epochs=4, evaluate_every=1), tmp_path / "run", extras=False)
    for one, other in zip(weights(run.folder / "best.keras"), calls[1], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(weights(run.folder / "model.keras"), calls[3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert json.loads((run.folder / "metrics.json").read_text())["AP"] == 20.0


def test_what_is_wrong_with_the_request_leaves_no_folder(tmp_path):
    for wrong in ({"data": "voc:nowhere"}, {"data": "images"}, {"batch_size": 64}):
        with pytest.raises(UserError):
            train(replace(RECIPE, **wrong), tmp_path / "run", extras=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match="not empty.*--resume"):
        new_folder(RECIPE, tmp_path)
    with pytest.raises(UserError, match="this is a file"):
        new_folder(RECIPE, tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="expected the folder of a run, with recipe.yaml"):
        resume(tmp_path / "elsewhere")


def test_unnamed_runs_get_folders_of_their_own(tmp_path):
    first = new_folder(Recipe())
    assert str(first) == "runs/shapes-ssd_tiny-harmonic_det-seed1"
    first.mkdir(parents=True)
    assert str(new_folder(Recipe())) == "runs/shapes-ssd_tiny-harmonic_det-seed1-2"
