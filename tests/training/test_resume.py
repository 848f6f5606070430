"""Going on with a run: the result is that of a run never stopped, or it is refused by name."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from toy_runs import RECIPE, InterruptAfter, checkpoints, history, weights

from harmonic_tf.training import train as train_module
from harmonic_tf.training.build import load_both
from harmonic_tf.training.checkpoints import Checkpoints
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.labels import load_model_and_labels, read_labels
from harmonic_tf.training.locking import claimed
from harmonic_tf.training.recipe import read_recipe, resolve, write_recipe
from harmonic_tf.training.train import resume, train

pytestmark = pytest.mark.usefixtures("toy", "elsewhere")


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_stopped_run_is_usable_and_goes_on_exactly(tmp_path, steps, whole, capsys):
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


def test_a_stopped_run_goes_on_exactly_on_kept_images_with_a_slow_backbone(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = replace(RECIPE, cache="memory", backbone_rate=0.2)
    whole = train(recipe, tmp_path / "whole", extras=False).folder
    assert f"images: {12 * (54 + 16 * 48)} bytes in memory\n" in capsys.readouterr().out
    folder = tmp_path / "stopped"
    recipe = replace(recipe, cache="disk")
    train(recipe, folder, extras=False, callbacks=[InterruptAfter(7)])
    (kept,) = (tmp_path / "cache/harmonic-tf").glob("images-*")
    resume(folder, extras=False)
    assert f"images: kept in {kept}\n" in capsys.readouterr().out
    first, second = (load_model_and_labels(f)[0].get_weights() for f in (whole, folder))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_going_on_with_a_finished_run_does_nothing(whole, capsys):
    before = (whole.folder / "model.keras").stat().st_mtime_ns
    assert resume(whole.folder).finished
    assert (whole.folder / "model.keras").stat().st_mtime_ns == before
    assert "nothing left to do" in capsys.readouterr().out


def test_one_training_at_a_time_in_a_folder(stopped):
    with claimed(stopped):
        for start in (resume, lambda folder: train(RECIPE, folder)):
            with pytest.raises(UserError, match=f"run: another training .*process {os.getpid()} "):
                start(stopped)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 1", "seed: 2", "recipe.yaml: seed is 2; the run was started with 1"),
        ("loss: harmonic_det", "loss: standard", "loss is 'standard'; the run .* 'harmonic_det'"),
        ("batch_size: 4", "batch_size: 2", "batch_size is 2; the run was started with 4"),
        ("train=12", "train=13", "data is 'shapes:train=13,val=4'; the run .*'shapes:train=12,"),
        ("epochs: 3", "epochs: 9", "epochs is 9; .* started with 3.*, give .* --extend-to, or"),
    ],
)
def test_a_run_goes_on_only_by_the_recipe_that_it_was_started_with(
    stopped, whole, tmp_path, old, new, message
):
    finished = shutil.copytree(whole.folder, tmp_path / "finished")
    for folder in (stopped, finished):
        file = folder / "recipe.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"{message}.*start anew: harmonic-tf train --config"):
            resume(folder)


def test_a_run_is_given_more_epochs_by_a_flag_that_is_written_down(stopped):
    folder = stopped
    with pytest.raises(UserError, match="--extend-to: expected more than the 3 epochs .*; rec.* 3"):
        resume(folder, extend_to=3)
    run = resume(folder, extras=False, extend_to=5)
    assert len(history(folder)) == run.recipe.epochs == 5
    assert read_recipe(folder / "recipe.yaml").epochs == 5
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [(s["epoch"], s["step"], s["epochs"]) for s in sessions] == [(0, 0, 3), (2, 1, 5)]
    # A cosine over five epochs, not over three: the rate at the last of 15 steps.
    assert float(history(folder)[-1]["learning_rate"]) == pytest.approx(0.0, abs=1e-9)
    assert float(history(folder)[2]["learning_rate"]) > 0.002
    with pytest.raises(UserError, match="is finished and keeps no state .*start anew"):
        resume(folder, extend_to=9)


def test_what_lies_damaged_in_a_folder_is_mended_from_the_checkpoint(stopped, whole, capsys):
    folder = stopped
    (folder / "history.csv").write_bytes(b"\xff\x00")
    (folder / "labels.json").unlink()
    (folder / "run.json").write_text("{")
    (folder / "model.keras").write_bytes(b"half")
    (folder / ".123.best.keras").write_bytes(b"left behind")
    (folder / ".history.csv.123").write_bytes(b"left behind, too")
    older, newer = checkpoints(folder)
    newer.write_bytes(newer.read_bytes()[:1000])
    run = resume(folder, extras=False)
    assert f"{newer.name} cannot be used (" in capsys.readouterr().out
    assert history(folder) == history(whole.folder)
    assert run.evaluation.metrics == whole.evaluation.metrics
    assert read_labels(folder) == read_labels(whole.folder)
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_without_a_checkpoint_a_run_that_was_begun_does_not_start_again(stopped):
    folder = stopped
    for file in checkpoints(folder):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="step-000001.npz cannot be used.*step.*; start anew: "):
        resume(folder)
    for file in checkpoints(folder):
        file.unlink()
    with pytest.raises(UserError, match="checkpoints: no checkpoint to go on from; start anew: "):
        resume(folder)
    (folder / "run.json").unlink()
    (folder / "checkpoints" / "last-1.index").touch()
    with pytest.raises(UserError, match="run was made by harmonic-tf 0.1.0, whose checkpoints"):
        resume(folder)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({}, "missing 'record'"),
        ({"record": "x"}, "expected the record of a run"),
        ({"record": {"recipe": 1}}, "expected the record of a run"),
        (
            {"record": {"recipe": {}, "labels": {}, "data": {}, "sessions": "x"}},
            r"expected the record of a run; TypeError\('sessions: expected a list'\)",
        ),
        (
            {"record": {"recipe": {}, "labels": {}, "data": {}, "sessions": []}, "history": 3},
            "history: expected a list",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_named(tmp_path, about, reason):
    write_recipe(RECIPE, tmp_path / "recipe.yaml")
    (tmp_path / "checkpoints").mkdir()
    Checkpoints(tmp_path / "checkpoints").save([], 1, 0, about)
    with pytest.raises(UserError, match=f"npz: not the checkpoint of a run: {reason}.*start anew"):
        resume(tmp_path)


def test_a_folder_with_nothing_but_a_recipe_is_a_run_to_begin(tmp_path):
    write_recipe(replace(RECIPE, epochs=1), tmp_path / "recipe.yaml")
    assert resume(tmp_path, extras=False).finished


def test_a_kill_before_the_last_file_is_caught_up(tmp_path, monkeypatch):
    recipe, asked = replace(RECIPE, epochs=1), []

    def extras(*arguments):
        asked.append(arguments)
        if len(asked) == 1:
            raise KeyboardInterrupt
        if len(asked) == 2:
            raise ValueError("no room for figures")

    monkeypatch.setattr(train_module, "write_extras", extras)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    with pytest.raises(UserError, match="complete, but not its figures.*: no room.*--no-extras"):
        resume(tmp_path / "run")
    assert resume(tmp_path / "run").finished
    assert len(asked) == 3 and len(history(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_class_that_was_renamed_in_the_data_is_refused_by_name(stopped, monkeypatch):
    folder = stopped
    before = (folder / "labels.json").read_text()

    def changed(**changes):
        train_data, eval_data = load_both(resolve(RECIPE))
        monkeypatch.setattr(
            train_module, "load_both", lambda recipe: (replace(train_data, **changes), eval_data)
        )

    changed(class_names=("blob", "ring", "zebra"))
    with pytest.raises(UserError, match="no longer has the class 'cross' .* 'zebra' "):
        resume(folder)
    changed(category_ids=(1, 2, 4))
    with pytest.raises(UserError, match=r"has other classes .*'cross' \(3\); .*'cross' \(4\)"):
        resume(folder)
    records = load_both(resolve(RECIPE))[0].records
    changed(records=records[1:])
    with pytest.raises(UserError, match="shapes train, to train .* images 11 instead of 12"):
        resume(folder)
    changed(records=(*records[1:], records[0]))
    other = "shapes train, to train with, has other images, boxes, classes or flags"
    with pytest.raises(UserError, match=other):
        resume(folder)
    changed(records=(replace(records[0], digest="that of other bytes"), *records[1:]))
    with pytest.raises(UserError, match=other):
        resume(folder)
    objects = replace(records[0].objects, difficult=~records[0].objects.difficult)
    changed(records=(replace(records[0], objects=objects), *records[1:]))
    with pytest.raises(UserError, match=other):
        resume(folder)
    assert (folder / "labels.json").read_text() == before
