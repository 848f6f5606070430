"""Several losses, each trained from the same seeds, compared pair by pair."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.status import Status

from harmonic_tf.training.comparison.figure import precision_by_threshold
from harmonic_tf.training.comparison.outlook import Outlook, epochs_done
from harmonic_tf.training.comparison.report import (
    Comparison,
    as_json,
    collect,
    describe,
    markdown,
    processor_hours,
    tables,
)
from harmonic_tf.training.console import line_console
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.eval_splits import split_folder, split_names
from harmonic_tf.training.files import write_bytes, write_json
from harmonic_tf.training.locking import claimed
from harmonic_tf.training.losses import require_distinct
from harmonic_tf.training.progress import duration
from harmonic_tf.training.recipe import (
    Recipe,
    read_recipe,
    resolve,
    weights_line,
    write_recipe,
)
from harmonic_tf.training.record import environments
from harmonic_tf.training.visualization.figures import save_figure


def compare(recipes, output, jobs=1, command="") -> Comparison:
    """Trains every recipe into `<output>/<loss>-seed<seed>` and compares their final models.

    Runs of the same seed start from the same weights and see the same images in the same order.
    What counts is the model after the last epoch, not the best on the way: choosing by the AP that
    is then reported would flatter the noisier loss. Finished runs in `output` are taken as they
    are, and stopped ones go on, so that a comparison can be stopped with Ctrl-C and repeated.
    Writes `compare.json`, `compare.md` and `compare.png`, and names runs in `output` that are not
    among those asked for.

    Args:
        recipes: sequence of Recipe. One for each loss and seed, all else equal; the last loss is
            compared with each of the others.
        output: str or Path. Folder of the comparison.
        jobs: int. Runs at a time, each with its share of the processor's cores. Defaults to `1`.
        command: str. What the user typed, for the report. Defaults to none.

    Returns:
        Comparison.

    Raises:
        UserError: If two losses are one under two names, `output` holds a run of another recipe,
            or one of other settings, another comparison is at work in it, or a run fails.
    """
    output = Path(output)
    with claimed(output):
        runs = {run_folder(output, recipe): resolve(recipe) for recipe in recipes}
        require_distinct(list(dict.fromkeys(recipe.loss for recipe in runs.values())))
        if line := weights_line(recipes[0]):
            line_console().print(line)
        return _compare(runs, output, jobs, command)


def _compare(runs, output, jobs, command):
    others = check_reusable(runs, output)
    waiting = {f: recipe for f, recipe in runs.items() if not (f / "metrics.json").exists()}
    console = line_console()
    console.print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them finished already")
    if others:
        console.print(f"also in {output}, and not asked for: {', '.join(others)}")
    run_all(waiting, jobs, console)
    comparison = collect(runs)
    further = {
        split: collect({split_folder(folder, split): recipe for folder, recipe in runs.items()})
        for split in split_names(next(iter(runs.values())).eval_split)[1:]
    }
    hours = processor_hours(runs)
    content = {
        "command": command,
        "made_with": environments(runs),
        "processor_hours": hours,
        **as_json(comparison),
    }
    if further:
        content["splits"] = {split: as_json(found) for split, found in further.items()}
    write_json(output / "compare.json", content)
    made_with = [f"Made with {line}." for line in environments(runs)]
    report = [describe(list(runs.values()), command, hours), *made_with, markdown(comparison)]
    report += [f"## On {split}\n\n{markdown(found)}" for split, found in further.items()]
    write_bytes(output / "compare.md", "\n\n".join(report).encode())
    save_figure(precision_by_threshold(comparison), output / "compare.png")
    for split, found in {None: comparison, **further}.items():
        if split:
            console.print(f"on {split}")
        for table in tables(found):
            console.print(table)
    console.print(f"written to {output / 'compare.md'}, compare.json and compare.png")
    return comparison


def run_folder(output: Path, recipe: Recipe) -> Path:
    """Where a comparison keeps one run."""
    return output / recipe.variant


def check_reusable(runs, output: Path) -> list:
    """Sees that all runs in the folder of a comparison belong to it.

    Args:
        runs: dict. Folder -> Recipe, resolved: the runs that are asked for.
        output: Path. The folder.

    Returns:
        list of str. Names of runs there that are not asked for: of other losses or seeds.

    Raises:
        UserError: If one was made with other settings; names both.
    """
    others, any_recipe = [], next(iter(runs.values()))
    for file in sorted(output.glob("*/recipe.yaml")):
        folder, there = file.parent, resolve(read_recipe(file))
        if folder.name != there.variant:
            continue  # no run of a comparison
        wanted = runs.get(folder)
        if wanted is None:
            wanted = replace(any_recipe, loss=there.loss, seed=there.seed)
            others.append(folder.name)
        for key, value in asdict(wanted).items():
            if getattr(there, key) != value:
                raise UserError(
                    f"{folder} was made with {key} {getattr(there, key)}; asked for is {value}. "
                    "Choose another --output, or remove that folder."
                )
    return others


def run_all(runs, jobs, console):
    """Trains recipes in processes of their own, a few at a time.

    Ctrl-C stops each process after its step, with a checkpoint to go on from.

    Args:
        runs: dict. Folder -> Recipe.
        jobs: int. Processes at a time.
        console: rich.console.Console. Gets a line for each run that ends, and on a terminal how
            far each run is, and how much longer it and all of them take.

    Raises:
        UserError: If a run fails; its output is in `log.txt` beside its folder's other files.
        KeyboardInterrupt: After all processes have stopped.
    """
    waiting, running, ended = list(runs.items()), {}, 0
    cores = max(1, (os.cpu_count() or 1) // jobs)
    outlook, status = Outlook(runs), Status("", console=console)
    try:
        status.start()
        while waiting or running:
            while waiting and len(running) < jobs:
                folder, recipe = waiting.pop(0)
                running[folder] = start(folder, recipe, cores)
                outlook.begin(folder)
            status.update(_progress(running, runs, outlook))
            time.sleep(0.2)
            for folder, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[folder]
                if process.returncode:
                    raise UserError(f"{folder} failed; see {log_file(folder)}\n{tail(folder)}")
                ended += 1
                line = f"{ended}/{len(runs)}  {folder.name}  {_result(folder)}"
                left = outlook.left(running) if ended < len(runs) else None
                took = duration(outlook.seconds(folder))
                console.print(f"{line}  {took}" + (f", {duration(left)} left" if left else ""))
    except KeyboardInterrupt:
        console.print("stopping after the step at hand; the same command goes on from there")
        raise
    finally:
        status.stop()
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for process in running.values():
            process.wait()


def _progress(running, runs, outlook):
    """One line for each run at work: how far it is, and how much longer it takes; then for all."""
    lines = []
    for folder in running:
        left = outlook.left_of(folder)
        line = f"{folder.name}  epoch {epochs_done(folder)}/{runs[folder].epochs}"
        lines.append(line + (f"  {duration(left)} left" if left else ""))
    left = outlook.left(running)
    return "\n".join([*lines, f"all  {duration(left)} left" if left else "all  ..."])


def _result(folder):
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    found = {name: metrics[name] for name in ("AP", "AP50", "AP80") if metrics[name] is not None}
    return "  ".join(f"{name} {value:.1f}" for name, value in found.items())


def start(folder: Path, recipe: Recipe, cores: int):
    """Starts one run, or goes on with it, with its share of the cores; returns the process."""
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "recipe.yaml")
    threads = {name: str(cores) for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")}
    with log_file(folder).open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "harmonic_tf.training.cli", "train"]
            + ["--resume", str(folder), "--no-extras"],
            env={**os.environ, **threads, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Apart from the terminal: a Ctrl-C there reaches it once, through `run_all`.
            start_new_session=True,
        )


def log_file(folder: Path) -> Path:
    """Where a run of a comparison writes what it would say on screen."""
    return folder / "log.txt"


def tail(folder: Path, lines=5) -> str:
    """The last lines of a run's log."""
    return "\n".join(log_file(folder).read_text(errors="replace").splitlines()[-lines:])
