"""Comparisons: which runs are made, which reused, and what the tables say."""

import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from harmonic_tf.training.comparison import run as compare_module
from harmonic_tf.training.comparison.report import (
    NUMBERS,
    Comparison,
    as_json,
    describe,
    difference_rows,
    markdown,
    processor_hours,
    summary_rows,
    tables,
)
from harmonic_tf.training.comparison.run import compare, run_all, run_folder
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.locking import claimed
from harmonic_tf.training.recipe import Recipe, read_recipe, resolve
from harmonic_tf.training.record import Record, write_record

RECIPES = [
    Recipe(loss=loss, seed=seed, epochs=3)
    for loss in ("standard", "harmonic_det")
    for seed in (1, 2, 3)
]


def result_of(recipe):
    """AP 30, 31, 32 by seed; HarmonicDet 2, 2, 5 more."""
    gain = {1: 2.0, 2: 2.0, 3: 5.0}[recipe.seed] if recipe.loss == "harmonic_det" else 0.0
    values = {number: 29.0 + recipe.seed + gain for number in NUMBERS}
    return {**values, "AIC": 0.3, "mean p": 0.5}


def finish(folder, recipe):
    folder.mkdir(parents=True, exist_ok=True)
    values = result_of(recipe)
    details = {"mean_p": values.pop("mean p")}
    (folder / "details.json").write_text(json.dumps(details))
    (folder / "metrics.json").write_text(json.dumps(values))
    (folder / "history.csv").write_text("epoch\n" + "1\n" * recipe.epochs)


@pytest.fixture
def trained(monkeypatch):
    """Records the runs that are started; each is finished at once."""
    started = []

    def start(folder, recipe, cores):
        started.append((folder.name, cores))
        compare_module.write_recipe(recipe, folder / "recipe.yaml")
        finish(folder, recipe)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(compare_module, "start", start)
    return started


def test_a_comparison_runs_everything_once_and_then_reuses_it(trained, tmp_path, capsys):
    comparison = compare(RECIPES, tmp_path, jobs=3, command="harmonic-tf compare ...")
    assert [name for name, _ in trained] == [
        f"{recipe.loss}-seed{recipe.seed}" for recipe in RECIPES
    ]
    assert comparison.losses == ("standard", "harmonic_det")
    assert comparison.values["harmonic_det"]["AP"] == [32.0, 33.0, 37.0]

    written = json.loads((tmp_path / "compare.json").read_text())
    assert written["summaries"]["standard"]["AP80"] == {"mean": 31.0, "sd": 1.0, "n": 3}
    # 2, 2, 5: mean 3, variance 3, standard error 1; t(2) = 4.303.
    difference = written["differences"]["harmonic_det - standard"]["AP"]
    assert difference.pop("interval") == pytest.approx([3 - 4.303, 3 + 4.303])
    assert difference == pytest.approx(
        {"mean": 3.0, "standard_error": 1.0, "n": 3, "within_noise": True}
    )
    report = (tmp_path / "compare.md").read_text()
    assert "    harmonic-tf compare ...\n\nssd_tiny on shapes, 3 epochs;" in report
    assert written["command"] == "harmonic-tf compare ..."
    assert written["processor_hours"] is None  # the histories of these runs do not say
    assert "standard" in capsys.readouterr().out
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")

    trained.clear()
    again = compare(RECIPES, tmp_path)
    assert not trained
    assert as_json(again) == as_json(comparison)


def test_further_splits_are_compared_by_themselves(trained, monkeypatch, tmp_path):
    start = compare_module.start

    def start_with_splits(folder, recipe, cores):
        started = start(folder, recipe, cores)
        finish(folder / "splits/test_crowd", recipe)
        return started

    monkeypatch.setattr(compare_module, "start", start_with_splits)
    recipes = [replace(recipe, eval_split="test,test_crowd") for recipe in RECIPES]
    compare(recipes, tmp_path)
    written = json.loads((tmp_path / "compare.json").read_text())
    assert written["splits"]["test_crowd"]["values"] == written["values"]
    report = (tmp_path / "compare.md").read_text()
    assert report.count("## On test_crowd") == 1
    assert report.count("| standard | 31.0 ± 1.0 |") == 2


def test_the_report_says_what_its_runs_were_made_with(trained, tmp_path):
    compare(RECIPES[:3], tmp_path)
    for recipe, version in zip(RECIPES[:3], ("1.0", "1.1", "1.0"), strict=True):
        environment = {"versions": {"keras": version}, "machine": "m", "devices": ["CPU"]}
        record = Record({}, {}, {}, []).with_session(0, 0, 3, environment)
        write_record(run_folder(tmp_path, recipe), record)
    compare(RECIPES[:3], tmp_path)
    made_with = "Made with keras 1.0; m; CPU.\n\nMade with keras 1.1; m; CPU.\n\n"
    assert made_with in (tmp_path / "compare.md").read_text()


def test_one_comparison_at_a_time_in_a_folder(trained, tmp_path):
    with claimed(tmp_path), pytest.raises(UserError, match="another training is at work here"):
        compare(RECIPES, tmp_path)


def test_a_folder_of_another_recipe_is_refused(trained, tmp_path):
    compare(RECIPES, tmp_path)
    with pytest.raises(UserError, match="det-seed1 was made with epochs 3; asked for is 4"):
        compare([replace(recipe, epochs=4) for recipe in RECIPES], tmp_path)


def test_a_folder_of_another_comparison_is_refused_and_its_report_stays(trained, tmp_path):
    compare(RECIPES, tmp_path)
    report = (tmp_path / "compare.json").read_bytes()
    trained.clear()
    for other in ({"loss": "constant_factors"}, {"seed": 4}):
        with pytest.raises(UserError, match="det-seed1 was made with epochs 3; asked for is 2"):
            compare([replace(RECIPES[0], epochs=2, **other)], tmp_path)
    assert not trained and (tmp_path / "compare.json").read_bytes() == report


def test_more_seeds_and_losses_can_be_added(trained, tmp_path):
    compare(RECIPES[:2], tmp_path)
    trained.clear()
    compare(RECIPES[:3], tmp_path)
    assert [name for name, _ in trained] == ["standard-seed3"]
    trained.clear()
    compare(RECIPES, tmp_path)
    assert [name for name, _ in trained] == [f"harmonic_det-seed{seed}" for seed in (1, 2, 3)]


def test_runs_that_are_not_asked_for_are_named(trained, tmp_path, capsys):
    compare([RECIPES[0], RECIPES[3]], tmp_path)
    foreign = tmp_path / "shapes-ssd_tiny-standard-seed1"
    foreign.mkdir()
    compare_module.write_recipe(Recipe(epochs=9), foreign / "recipe.yaml")
    capsys.readouterr()
    assert compare(RECIPES[:1], tmp_path).losses == ("standard",)
    assert "not asked for: harmonic_det-seed1\n" in capsys.readouterr().out


def test_one_loss_under_two_names_is_refused(trained, tmp_path):
    recipes = [Recipe(loss=loss) for loss in ("standard_x2", "standard:constant_factor=2")]
    with pytest.raises(UserError, match="standard_x2 and standard:constant_factor=2 are the same"):
        compare(recipes, tmp_path)
    assert not trained


def test_a_process_gets_its_recipe_and_its_share_of_the_cores(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(compare_module.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(
        compare_module.subprocess, "Popen", lambda command, **k: asked.update(k, command=command)
    )
    folder = tmp_path / "run"
    compare_module.start(folder, RECIPES[0], cores=4)
    assert asked["command"][1:] == [
        "-m", "harmonic_tf.training.cli", "train", "--resume", str(folder), "--no-extras",
    ]  # fmt: skip
    assert asked["env"]["TF_NUM_INTRAOP_THREADS"] == asked["env"]["OMP_NUM_THREADS"] == "4"
    assert read_recipe(folder / "recipe.yaml") == RECIPES[0]


def processes(monkeypatch, code):
    """Makes every run a process of Python with this code, from its first line of output on."""
    started = []

    def start(folder, recipe, cores):
        folder.mkdir()
        (folder / "log.txt").write_text("first line\nlast line\n")
        started.append(
            subprocess.Popen(
                [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, start_new_session=True
            )
        )
        with started[-1].stdout as output:
            output.readline()
        return started[-1]

    monkeypatch.setattr(compare_module, "start", start)
    return started


def test_a_failed_run_stops_the_comparison_and_shows_its_last_lines(monkeypatch, tmp_path):
    processes(monkeypatch, "print(); raise SystemExit(2)")
    with pytest.raises(UserError, match=r"run failed; see .*log.txt\nfirst line\nlast line"):
        run_all({tmp_path / "run": RECIPES[0]}, 1, Console(quiet=True))


def test_ctrl_c_is_handed_on_once_and_waited_for(monkeypatch, tmp_path):
    started = processes(
        monkeypatch,
        # A shell's background jobs, and so their children, are born deaf to it.
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    print()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)",
    )

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_module.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all({tmp_path / "a": RECIPES[0], tmp_path / "b": RECIPES[1]}, 2, Console(quiet=True))
    assert [process.returncode for process in started] == [130, 130]


def test_tables():
    values = {
        "standard": {number: [30.0, 31.0] for number in NUMBERS},
        "harmonic_det": {number: [31.0, 32.0] for number in NUMBERS},
    }
    values["harmonic_det"]["AIC"] = [30.0, 31.2]
    comparison = Comparison(("standard", "harmonic_det"), (1, 2), values)
    first, second = summary_rows(comparison)
    assert first[:2] == ["standard", "30.5 ± 0.7"]
    ((corner, ap, *_, aic, mean_p),) = difference_rows(
        comparison, comparison.numbers, comparison.difference
    )
    assert corner == "− standard"
    assert ap == "+1.0 [+1.0, +1.0]"
    # 0.0 and 0.2: standard error 0.1, t(1) = 12.706.
    assert aic == "+0.100 [-1.171, +1.371] (noise)"
    assert mean_p == "+1.000 [+1.000, +1.000]"
    lines = markdown(comparison).splitlines()
    assert lines[2].startswith("| loss | AP | AP50 |")
    assert lines[4].startswith("| standard | 30.5 ± 0.7 |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_intervals_over_images_where_all_runs_have_resamples(trained, tmp_path):
    """On two resamples HarmonicDet is 2 and 4 points above; the mean of its seeds is 3 above."""
    compare(RECIPES, tmp_path)
    for recipe in RECIPES:
        gain = [2.0, 4.0] if recipe.loss == "harmonic_det" else [0.0, 0.0]
        values = {"AP": [recipe.seed + x for x in gain]}
        (run_folder(tmp_path, recipe) / "resampled.json").write_text(json.dumps(values))
    comparison = compare(RECIPES, tmp_path)
    found = as_json(comparison)["differences_over_images"]["harmonic_det - standard"]
    assert set(found) == {"AP"}
    assert found["AP"]["mean"] == 3.0 and found["AP"]["n"] == 2
    assert found["AP"]["standard_error"] == pytest.approx(math.sqrt(2))
    *_, last = markdown(comparison).splitlines()
    assert last == "| − standard | +3.0 [+0.2, +5.8] |"
    (run_folder(tmp_path, RECIPES[0]) / "resampled.json").unlink()
    assert compare(RECIPES, tmp_path).resampled == {}


def test_a_loss_with_settings_has_a_folder_of_its_own(trained, tmp_path):
    recipes = [Recipe(loss=loss, epochs=3) for loss in ("standard", "harmonic_det:margin=.1")]
    comparison = compare(recipes, tmp_path)
    assert [name for name, _ in trained] == ["standard-seed1", "harmonic_det-margin=0.1-seed1"]
    assert comparison.losses == ("standard", "harmonic_det:margin=0.1")
    assert "| harmonic_det:margin=0.1 |" in markdown(comparison)


def test_two_comparisons_on_one_folder_are_refused(trained, tmp_path):
    with claimed(tmp_path), pytest.raises(UserError, match="is at work here"):
        compare(RECIPES, tmp_path)
    compare(RECIPES[:1], tmp_path)


def test_each_run_that_ends_says_how_much_longer(trained, tmp_path, capsys):
    compare(RECIPES[:3], tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if "-seed" in line]
    assert [line.split()[:2] for line in lines] == [
        ["1/3", "standard-seed1"], ["2/3", "standard-seed2"], ["3/3", "standard-seed3"],
    ]  # fmt: skip
    assert [line.endswith(" left") for line in lines] == [True, True, False]
    assert "AP 30.0  AP50 30.0  AP80 30.0" in lines[0]


def test_masks_are_compared_where_all_runs_have_them(trained, tmp_path):
    comparison = compare(RECIPES, tmp_path)
    assert "segm_AP75" in comparison.numbers
    assert comparison.values["harmonic_det"]["segm_AP"] == [32.0, 33.0, 37.0]
    file = run_folder(tmp_path, RECIPES[0]) / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in metrics.items() if not k.startswith("segm_")}))
    comparison = compare(RECIPES, tmp_path)
    expected = [number for number in NUMBERS if not number.startswith("segm_")]
    assert list(comparison.numbers) == expected
    assert "segm" not in markdown(comparison) and set(
        as_json(comparison)["summaries"]["standard"]
    ) == set(expected)


def test_tables_fit_a_terminal():
    """Nothing is cut off at 80 columns: four losses, each with its intervals."""
    losses = ("standard", "standard_x2", "constant_factors", "harmonic_norm:factor_offset=0.3")
    values = {
        loss: {number: [30.0 + i, 30.5] for number in NUMBERS} for i, loss in enumerate(losses)
    }
    console = Console(width=80, file=io.StringIO())
    for table in tables(Comparison(losses, (1, 2), values)):
        console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    assert "(noise)" in text and "mean p" in text


def test_the_file_has_the_differences_of_all_pairs():
    values = {
        loss: {number: [start, start + 1.0] for number in NUMBERS}
        for loss, start in (("standard", 1.0), ("harmonic_det", 3.0), ("harmonic_norm", 7.0))
    }
    resampled = {loss: {"AP": 2 * [[values[loss]["AP"][0], 9.0]]} for loss in values}
    written = as_json(Comparison(tuple(values), (1, 2), values, resampled))
    expected = {
        "harmonic_det - standard": 2.0,
        "harmonic_norm - standard": 6.0,
        "harmonic_norm - harmonic_det": 4.0,
    }
    for kind in ("differences", "differences_over_images"):
        assert {pair: found["AP"]["mean"] for pair, found in written[kind].items()} == expected


def test_hours_are_those_of_all_runs(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "history.csv").write_text("epoch,processor_seconds\n1,1800\n2,5400\n")
    assert processor_hours(folders) == 4.0
    (folders[1] / "history.csv").unlink()
    assert processor_hours(folders) is None


def test_the_head_of_a_report_says_its_epochs_and_hours():
    head = describe([Recipe(epochs=1)], "harmonic-tf compare", hours=1.234)
    assert head.startswith("    harmonic-tf compare\n\nssd_tiny on shapes, 1 epoch; the model")
    assert head.endswith("; 1.23 hours of processor time in the epochs.")
    assert "hours" not in describe([Recipe(epochs=3)], "", hours=None)


def test_one_loss_or_one_seed_is_no_error():
    values = {"standard": {number: [30.0] for number in NUMBERS}}
    comparison = Comparison(("standard",), (1,), values)
    assert "| standard | 30.0 |" in markdown(comparison)
    assert as_json(comparison)["differences"] == {}


def test_without_objects_there_is_nothing_to_compare(trained, tmp_path):
    compare(RECIPES[:1], tmp_path)
    file = run_folder(tmp_path, RECIPES[0]) / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "AP": None}))
    with pytest.raises(UserError, match="no AP; its evaluation data has no objects"):
        compare(RECIPES[:1], tmp_path)
    file.write_text("{")
    with pytest.raises(UserError, match=f"{file.parent.name}: metrics.json .* cannot be used"):
        compare(RECIPES[:1], tmp_path)


@pytest.mark.slow
def test_real_runs(tmp_path):
    recipes = [
        Recipe(loss=loss, data="shapes:train=16,val=8", epochs=1, batch_size=8)
        for loss in ("standard", "harmonic_det:margin=0.1")
    ]
    comparison = compare(recipes, tmp_path, jobs=2)
    first, second = (comparison.values[recipe.loss] for recipe in recipes)
    assert first["AIC"] != second["AIC"]
    for recipe in recipes:
        folder = run_folder(tmp_path, recipe)
        assert read_recipe(folder / "recipe.yaml") == resolve(recipe)
        assert not (folder / "predictions.png").exists()
