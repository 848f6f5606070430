"""A whole run: what its folder holds, and what is refused before or on the way."""

import errno
import json
import math
import os
from dataclasses import replace

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from rectangles import EVEN, LeftHalfFinder, RectangleFinder, rectangle_data, with_left_halves
from toy_runs import RECIPE, checkpoints, history, weights

import harmonic_tf
from harmonic_tf.training import train as train_module
from harmonic_tf.training.build import load_both
from harmonic_tf.training.checkpoints import Checkpoints
from harmonic_tf.training.cli.program import main
from harmonic_tf.training.environment import devices
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.evaluation.average_precision import METRICS
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.labels import load_model_and_labels, read_labels
from harmonic_tf.training.recipe import Recipe, read_recipe, resolve
from harmonic_tf.training.record import environments
from harmonic_tf.training.train import new_folder, resume, train

pytestmark = pytest.mark.usefixtures("toy", "elsewhere")


def test_a_run_leaves_a_folder_with_all_that_came_out(tmp_path, capsys):
    run = train(RECIPE, tmp_path / "run", extras=False)
    assert run.finished
    assert {file.name for file in run.folder.iterdir()} == {
        "recipe.yaml", "run.json", "labels.json", "history.csv", "tensorboard", "model.keras",
        "best.keras", "metrics.json", "details.json", "resampled.json",
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


def test_best_is_the_first_highest_ap(tmp_path, monkeypatch):
    found = iter([10.0, 30.0, 30.0, 20.0, 21.0])
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
    assert json.loads((run.folder / "metrics.json").read_text())["AP"] == 21.0


def test_what_is_wrong_with_the_request_leaves_no_folder(tmp_path):
    for wrong in ({"data": "voc:nowhere"}, {"data": "images"}, {"batch_size": 64}):
        with pytest.raises(UserError):
            train(replace(RECIPE, **wrong), tmp_path / "run", extras=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match="not empty.*--resume"):
        train(RECIPE, tmp_path)
    with pytest.raises(UserError, match="this is a file"):
        train(RECIPE, tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="elsewhere: cannot be written to: Not a directory"):
        train(RECIPE, tmp_path / "recipe.yaml" / "elsewhere")
    with pytest.raises(UserError, match="expected the folder of a run, with recipe.yaml"):
        resume(tmp_path / "elsewhere")
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.yaml"]


def test_unnamed_runs_get_folders_of_their_own():
    name = "runs/shapes-ssd_tiny-harmonic_det-seed1"
    with new_folder(Recipe()) as first, new_folder(Recipe()) as second:
        assert (str(first), str(second)) == (name, f"{name}-2")
        (first / "recipe.yaml").touch()
    with new_folder(Recipe()) as third:
        assert str(third) == f"{name}-2"
    assert not third.exists() and first.exists()


def test_every_start_is_written_down_with_versions_and_devices(whole):
    (session,) = json.loads((whole.folder / "run.json").read_text())["sessions"]
    assert session["versions"]["harmonic-tf"] == harmonic_tf.__version__
    assert {"python", "tensorflow", "keras", "numpy"} < set(session["versions"])
    assert session["devices"] == devices()
    (line,) = environments([whole.folder, whole.folder, whole.folder / "elsewhere"])
    assert f"keras {keras.__version__}" in line


def test_the_numbers_are_those_of_the_file_when_a_callback_restores_other_weights(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", mode="max", restore_best_weights=True, patience=1)
    recipe = replace(RECIPE, epochs=9, learning_rate=0.05, evaluate_every=1)
    run = train(recipe, tmp_path / "run", extras=False, callbacks=[stop])
    rows = history(run.folder)
    assert len(rows) < 9
    model, _ = load_model_and_labels(run.folder)
    measured = evaluate_model(model, load_both(run.recipe)[1]).metrics
    assert run.evaluation.metrics == measured
    assert str(measured["AIC"]) == rows[stop.best_epoch]["AIC"] != rows[-1]["AIC"]


def test_a_full_disk_is_one_sentence_and_keeps_what_there_is(tmp_path, monkeypatch):
    save, saved = train_module.Checkpoints.save, []

    def full(self, *arguments):
        saved.append(arguments)
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(self, *arguments)

    monkeypatch.setattr(train_module.Checkpoints, "save", full)
    with pytest.raises(UserError, match="run: cannot be written to: No space .* --resume .*run$"):
        train(RECIPE, tmp_path / "run", extras=False)
    assert len(checkpoints(tmp_path / "run")) == 2


def test_broken_weights_are_never_saved(tmp_path):
    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 9:
                self.model.convolution.kernel.assign_add(np.full((8, 8, 3, 8), np.inf))

    with pytest.raises(UserError, match="kernel became NaN or infinite in epoch 3"):
        train(RECIPE, tmp_path / "run", extras=False, callbacks=[Spoil()])
    folder = tmp_path / "run"
    assert not (folder / "metrics.json").exists() and not (folder / "model.keras").exists()
    assert all(np.isfinite(w).all() for w in weights(folder / "best.keras"))
    assert all(
        np.isfinite(array).all() for array in Checkpoints(folder / "checkpoints").newest().arrays
    )


def test_a_warm_up_without_a_step_after_it_is_refused(tmp_path):
    recipe = replace(RECIPE, data="shapes:train=4,val=4", epochs=1, warmup=0.6)
    with pytest.raises(UserError, match="warmup: 0.6 of 1 steps leaves none"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.inf, math.nan])
def test_checkpoint_minutes_out_of_range_are_refused(tmp_path, minutes):
    with pytest.raises(UserError, match="checkpoint_minutes: expected greater than 0 and finite"):
        train(RECIPE, tmp_path / "run", checkpoint_minutes=minutes)


def test_class_names_are_printed_as_they_are(tmp_path, monkeypatch, capsys):
    names = ("lid [/closed]", "wheel [front]", "[red]:smile:")
    data = [replace(part, class_names=names) for part in load_both(resolve(RECIPE))]
    monkeypatch.setattr(train_module, "load_both", lambda recipe: data)
    train(replace(RECIPE, epochs=1), tmp_path / "run [1]", extras=False)
    text = capsys.readouterr().out
    assert all(name in text for name in (*names, "run [1]"))


def test_further_splits_are_measured_at_the_end(tmp_path, capsys):
    run = train(replace(RECIPE, eval_split="val, train", epochs=1), tmp_path / "run", extras=False)
    further = run.folder / "splits/train"
    assert {file.name for file in further.iterdir()} == {
        "metrics.json", "details.json", "resampled.json",
    }  # fmt: skip
    images = [json.loads((f / "details.json").read_text())["counts"]["images"] for f in
              (run.folder, further)]  # fmt: skip
    assert images == [4, 12]
    text = capsys.readouterr().out
    assert text.count("shapes train: 12 images") == 2
    with pytest.raises(UserError, match="split must be train or val, received 'crowd'"):
        train(replace(RECIPE, eval_split="val,crowd"), tmp_path / "other", extras=False)
    assert not (tmp_path / "other").exists()


def test_data_without_splits_is_parted_and_that_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "cells").mkdir()
    for seed in range(5):
        Image.new("RGB", (40, 40), (50 * seed, 0, 0)).save(tmp_path / f"cells/{seed}.png")
        corners = "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax>"
        objects = "".join(
            f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>" for name in "wxyz"
        )
        (tmp_path / f"cells/{seed}.xml").write_text(f"<annotation>{objects}</annotation>")
    run = train(replace(RECIPE, data="cells", epochs=1), tmp_path / "run", extras=False)
    assert read_recipe(run.folder / "recipe.yaml").data == f"voc:{tmp_path}/cells"
    text = capsys.readouterr().out
    for part in (
        "(80 %) to train on",
        "cells all, to train on: ",
        "1 of 5 images (20 %) to evaluate on",
    ):
        assert part in text


def test_files_whose_names_are_no_text_are_trained_on_and_named(tmp_path, capsys):
    names = ("k\udce4se.png", "g\udcf6ne.png")
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    annotations = 4 * [{"image_id": 0, "category_id": 1, "bbox": [10, 10, 40, 40]}]
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (80, 60)).save(tmp_path / split / names[0])
        content = {"images": images, "annotations": annotations}
        file = tmp_path / f"annotations/instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "dog"}]}))
    with pytest.raises(SystemExit) as end:
        main(["data", f"coco:{tmp_path}", "--output", f"{tmp_path}-sheets"])
    assert not end.value.code and r"g\udcf6ne.png" in capsys.readouterr().out
    recipe = replace(RECIPE, data=f"coco:{tmp_path}", epochs=1, batch_size=1, evaluate_every=1)
    run = train(recipe, tmp_path / "run", extras=False)
    assert run.finished and r"g\udcf6ne.png" in (run.folder / "problems.txt").read_text()
