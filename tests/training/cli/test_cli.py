"""The program: help without TensorFlow, precedence of settings, messages and exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

import harmonic_tf
from harmonic_tf import models
from harmonic_tf.training import cli
from harmonic_tf.training.cli import commands
from harmonic_tf.training.data import load_data
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.recipe import Recipe, Settings, write_recipe


def main(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


@pytest.mark.parametrize("command", [None, *commands.COMMANDS])
def test_help_teaches(command, capsys):
    assert main(*([command] if command else []), "--help") == 0
    text = capsys.readouterr().out
    for name in [command] if command else commands.COMMANDS:
        assert " ".join(commands.COMMANDS[name].__doc__.split()[:4]) in text
    if command:
        assert f"harmonic-tf {command} " in text.replace(f"usage: harmonic-tf {command}", "")
        assert "MISSING" not in text
    else:
        assert all(name in text for name in commands.COMMANDS)


def test_help_imports_no_tensorflow():
    code = """
import sys
from harmonic_tf.training.cli import main
try:
    main(["train", "--help"])
except SystemExit as ended:
    assert ended.code == 0
assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path):
    path = write_recipe(Recipe(epochs=7, seed=5, loss="standard"), tmp_path / "recipe.yaml")
    train = cli.parse(["train", "--config", str(path), "--seed", "9", "--no-extras"])
    assert train.recipe() == Recipe(epochs=7, seed=9, loss="standard")
    assert not train.extras
    assert cli.parse(["train"]).recipe() == Recipe()


def test_flags_are_typed():
    train = cli.parse(
        ["train", "--image-size", "160", "208", "--class-names", "a", "b", "--batch-size", "4"]
        + ["--freeze-batch-norm", "True", "--learning-rate", "1e-3", "--data", "voc:DIR"]
    )
    assert train.recipe() == Recipe(
        image_size=(160, 208), class_names=("a", "b"), learning_rate=1e-3, freeze_batch_norm=True,
        batch_size=4, data="voc:DIR",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["train", "--epochs", "0"], "epochs: expected at least 1; received 0"),
        (["train", "--resume", "nowhere"], "nowhere: expected the folder of a run"),
        (["train", "--resume", "run", "--epochs", "3"], "--resume allows no flag but --extend-to"),
        (["train", "--extend-to", "3"], "--extend-to is for a run that --resume goes on with"),
        (["train", "--checkpoint-minutes", "0"], "checkpoint_minutes: expected greater than 0"),
        (["train", "--learning-rate", "inf"], "learning_rate: expected a finite number; .* inf"),
        (["train", "--clip-norm", "inf"], "clip_norm: expected a finite number; received inf"),
        (["evaluate", "run", "--batch-size", "0"], "--batch-size: expected at least 1"),
        (["predict", "run", "a.jpg", "--batch-size", "0"], "--batch-size: expected at least 1"),
        (["predict", "run", "a.jpg", "--score-threshold", "nan"], "--score-threshold: .* nan"),
        (["train", "--data", "voc:nowhere"], "nowhere"),
        (["train", "--model", "ssd_huge"], "ssd_huge"),
        (["train", "--backbone", "nope"], "nope"),
        (["data", "shapes", "--output", __file__], "test_cli.py: expected a folder; .* is a file"),
        (["data", "shapes:train=1", "--output", "/proc/x"], "/proc/x: cannot be written to"),
        (["evaluate", "run", "--output", f"{__file__}/x"], "x: expected a folder; .*cli.py is a"),
        (["predict", "run", "a.jpg", "--output", __file__], "cli.py: expected a folder"),
        (["export", "run", "--output", __file__], "cli.py: expected a folder"),
        (["evaluate", "nowhere"], "nowhere: no such run or model file"),
        (["evaluate", "run", "--scales", "400,big"], "--scales: expected numbers .* '400,big'"),
        (["evaluate", "run", "--scales", "400,400"], "--scales: expected each once"),
        (["evaluate", "run", "--merge", "soft-nms"], "nothing to merge without --scales or --flip"),
        (["predict", "nowhere", "a.jpg"], "nowhere: no such run or model file"),
        (["predict", "nowhere"], "nowhere: no such file, or no image there"),
        (["export", "nowhere"], "nowhere: no such run or model file"),
        (["data", "voc:nowhere"], "nowhere"),
        (["compare", "--losses", "standard,best"], "loss: expected one of .* 'best'"),
        (["compare", "--seeds", "1,two"], "--seeds: expected numbers .* '1,two'"),
        (["compare", "--seeds", "1,1"], "--seeds: expected each once"),
        (["compare", "--jobs", "0"], "--jobs: expected at least 1"),
    ],
)
def test_mistakes_end_with_a_message(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("harmonic-tf: ")
    assert "Traceback" not in error
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


def test_a_wrong_flag_is_refused(capsys):
    assert main("train", "--epoch", "3") == 2
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_outside_training(number, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(commands.Data, "__call__", lambda self: signal.raise_signal(number))
    assert main("data", "shapes") == 130
    assert capsys.readouterr().err == "harmonic-tf: stopped\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["--version"]])
def test_output_that_nobody_reads_any_more_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    program = "import sys; from harmonic_tf.training.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_the_versions_are_told(capsys):
    assert not main("--version")
    text = capsys.readouterr().out
    assert text.startswith(f"harmonic-tf {harmonic_tf.__version__} (python 3.")
    assert f"tensorflow {metadata.version('tensorflow')}" in text


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_of_any_error(place, capsys):
    arguments = ["train", "--config", "none.yaml"]
    arguments.insert(place, "--debug")
    assert main(*arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and "FileNotFoundError" in error
    assert error.splitlines()[-1].startswith("harmonic-tf: none.yaml: cannot be read")


def test_an_error_of_the_program_is_escaped_as_all_else(monkeypatch, capsys):
    """Warnings among it, which whatever reads names of files may give."""

    def read(self):
        print(warnings.formatwarning("owl\x1b[1J", UserWarning, "x.py", 1), file=sys.stderr)
        raise RuntimeError("owl\x1b[2J")

    monkeypatch.setattr(commands.Data, "__call__", read)
    assert main("data", "shapes") == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error and error.endswith("RuntimeError: owl\\x1b[2J\n")
    assert "Traceback" in error and r"UserWarning: owl\x1b[1J" in error


def test_only_the_start_of_tensorflow_is_silent():
    code = """
import os
from harmonic_tf.training.cli.quiet import import_tensorflow
import_tensorflow()
import tensorflow as tf
assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
os.write(2, b"heard")
"""
    quiet = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=quiet)
    assert done.stderr == b"heard"


@pytest.mark.parametrize(("finished", "code"), [(True, 0), (False, 130)])
def test_a_stopped_training_says_so_by_its_exit_code(finished, code, monkeypatch):
    from harmonic_tf.training import train as train_module

    asked = []

    def run(*arguments, **settings):
        asked.append((*arguments, settings))
        return train_module.Run(None, None, finished, None)

    monkeypatch.setattr(train_module, "train", run)
    monkeypatch.setattr(train_module, "resume", run)
    assert main("train", "--epochs", "3", "--no-extras") == code
    flags = ["--extend-to", "5", "--checkpoint-minutes", "2", "--no-extras"]
    assert main("train", "--resume", "run", *flags) == code
    assert asked == [
        (Recipe(epochs=3), None, {"extras": False, "checkpoint_minutes": 10.0}),
        (Path("run"), {"extras": False, "checkpoint_minutes": 2.0, "extend_to": 5}),
    ]


def test_compare_makes_one_recipe_for_each_loss_and_seed(monkeypatch, tmp_path):
    from harmonic_tf.training.comparison import run as compare_module

    asked = []
    monkeypatch.setattr(compare_module, "compare", lambda *a, **k: asked.append((a, k)))
    path = write_recipe(Recipe(epochs=7, seed=5, loss="harmonic"), tmp_path / "recipe.yaml")
    assert not main(
        "compare", "--losses", "standard, harmonic_det", "--seeds", "1,2", "--jobs", "2",
        "--config", str(path), "--data", "voc:some/cells",
    )  # fmt: skip
    ((recipes, output, jobs), _) = asked[0]
    assert [(r.loss, r.seed) for r in recipes] == [
        ("standard", 1), ("standard", 2), ("harmonic_det", 1), ("harmonic_det", 2),
    ]  # fmt: skip
    assert {(r.epochs, r.data) for r in recipes} == {(7, "voc:some/cells")}
    assert (str(output), jobs) == ("runs/compare-cells-ssd_tiny", 2)


def test_every_setting_reaches_both_programs():
    assert set(asdict(Settings())) < set(asdict(cli.parse(["compare"])))
    assert set(asdict(Recipe())) < set(asdict(cli.parse(["train"])))


def test_evaluate_takes_its_data_from_the_run(tmp_path):
    write_recipe(Recipe(data="voc:cells", eval_split="val"), tmp_path / "recipe.yaml")
    for model in (tmp_path, tmp_path / "best.keras"):
        for flags, expected in (
            ({}, ("voc:cells", "val")),
            ({"eval_split": "test"}, ("voc:cells", "test")),
            ({"data": "shapes"}, ("shapes", None)),
            ({"data": "voc:./cells"}, ("voc:cells", None)),
        ):
            recipe = commands.Evaluate(model, **flags)._recipe()
            assert (recipe.data, recipe.eval_split) == expected
    with pytest.raises(UserError, match="say what --data to use"):
        commands.Evaluate(tmp_path / "elsewhere" / "model.keras")._recipe()


def test_evaluate_takes_the_part_that_was_not_trained_on(tmp_path):
    recipe = Recipe(data="yolo:cells", val_fraction=0.3, val_seed=2)
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert commands.Evaluate(tmp_path)._recipe().val_fraction == 0.3
    assert commands.Evaluate(tmp_path, data="yolo:./cells")._recipe() == recipe
    assert commands.Evaluate(tmp_path, data="yolo:others")._recipe().val_fraction is None


def test_several_splits_are_evaluated_one_after_the_other(tmp_path, capsys):
    file = tmp_path / "model.keras"
    models.from_preset("ssd_tiny", num_classes=3).save(file)
    arguments = ["evaluate", str(file), "--data", "shapes:train=3,val=2", "--batch-size", "2"]
    assert not main(*arguments, "--split", "val,train", "--output", str(tmp_path / "found"))
    text = capsys.readouterr().out
    assert text.index("shapes val: 2 images") < text.index("shapes train: 3 images")
    for folder in ("found", "found/splits/train"):
        assert 0 <= json.loads((tmp_path / folder / "metrics.json").read_text())["AP"] <= 100
    assert main(*arguments, "--eval-split", "val,val") == 2
    assert "expected different names of splits" in capsys.readouterr().err


def test_evaluate_at_another_scale_and_mirrored(tmp_path, capsys):
    file = tmp_path / "model.keras"
    models.from_preset("ssd_tiny", num_classes=3).save(file)
    arguments = ["evaluate", str(file), "--data", "shapes:val=2", "--batch-size", "2"]
    merged = ["--scales", "96", "--flip", "--merge", "soft-nms", "--output", str(tmp_path)]
    assert not main(*arguments, *merged)
    text = capsys.readouterr().out
    assert "merging what is found at 96 x 112 px; 96 x 112 px, mirrored" in text
    assert "each view alone" in text and "2 images" in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= metrics["AP"] <= 100 and metrics["AIC"] is None
    assert main(*arguments, "--scales", "20") == 2
    assert "expected scales of at least 32 pixels; received 20" in capsys.readouterr().err


def test_data_is_converted_and_what_is_lost_is_said(tmp_path, capsys):
    arguments = ["data", "shapes:train=3,val=2", "--convert", "voc", "--output"]
    assert not main(*arguments, str(tmp_path / "out"))
    text = capsys.readouterr().out
    assert re.search(r"voc cannot say: train: masks \(\d+\)\n", text)
    assert "train: 3 images" in text and f"read it as voc:{tmp_path}/out" in text
    assert main(*arguments, str(tmp_path)) == 2
    assert "expected a folder that is empty or not there" in capsys.readouterr().err


def test_data_is_parted_and_converted_as_it_is_trained_on(tmp_path, capsys):
    corners = "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax>"
    xml = f"<object><name>x</name><bndbox>{corners}</bndbox></object>"
    (tmp_path / "cells").mkdir()
    for seed in range(6):
        Image.new("RGB", (40, 40), (40 * seed, 0, 0)).save(tmp_path / f"cells/{seed}.png")
        (tmp_path / f"cells/{seed}.xml").write_text(f"<annotation>{xml}</annotation>")
    source, out = str(tmp_path / "cells"), str(tmp_path / "out")
    parting = ["--val-fraction", "0.5", "--val-seed", "2"]
    assert not main("data", source, *parting, "--convert", "yolo", "--output", out)
    text = capsys.readouterr().out
    held_out = load_data(source, "eval", val_fraction=0.5, val_seed=2)
    assert f"seed 2: {len(held_out)} of 6 images" in text
    assert load_data(f"yolo:{out}", "eval").image_names == held_out.image_names
    assert not main("data", source, *parting, "--output", str(tmp_path / "figures"))
    assert f"seed 2: {6 - len(held_out)} of 6 images" in " ".join(capsys.readouterr().out.split())


def test_data_shows_what_is_in_it_and_writes_figures(tmp_path, capsys):
    assert not main("data", "shapes:train=4,val=2", "--output", str(tmp_path))
    text = capsys.readouterr().out
    assert "sizes as the network sees them" in text and "0 of 2 images are in both splits" in text
    written = {file.name for file in tmp_path.iterdir()}
    assert written == {"contact_sheet.png", "classes.png", "boxes.png"}
