"""One training run: from a recipe to a folder that holds all that came out of it."""

import contextlib
import dataclasses
import itertools
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from harmonic_tf.training.build import (
    build_batches,
    build_model,
    build_network,
    build_strategy,
    compile_model,
    load_both,
    load_to_evaluate,
)
from harmonic_tf.training.callbacks import (
    EvaluateEvery,
    History,
    KeepBest,
    ProgressReport,
    SaveState,
    TensorBoardLog,
)
from harmonic_tf.training.checkpoints import Checkpoints, save_model
from harmonic_tf.training.console import line_console, plain_console
from harmonic_tf.training.data import problem_report
from harmonic_tf.training.environment import environment, versions
from harmonic_tf.training.errors import UserError, as_user_error
from harmonic_tf.training.eval_splits import split_folder, split_names
from harmonic_tf.training.evaluation.evaluator import Evaluation, Evaluator, write_metrics
from harmonic_tf.training.evaluation.resampling import RESAMPLED_FILE, resampled_metrics
from harmonic_tf.training.evaluation.tables import metrics_table
from harmonic_tf.training.files import sweep, write_bytes, write_json, writing_to
from harmonic_tf.training.interrupts import stop_on_interrupt
from harmonic_tf.training.labels import MODEL_FILE, Labels, load_model_and_labels, write_labels
from harmonic_tf.training.locking import FolderInUse, claimed, is_empty
from harmonic_tf.training.loop import Loop, enough_memory
from harmonic_tf.training.recipe import (
    Recipe,
    read_recipe,
    resolve,
    weights_line,
    write_recipe,
)
from harmonic_tf.training.record import (
    RECIPE_FILE,
    RECORD_FILE,
    Record,
    read_record,
    write_record,
)

METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
CHECKPOINTS = "checkpoints"
CHECKPOINT_MINUTES = 10.0


@dataclass(frozen=True)
class Run:
    """What a training run came to.

    Attributes:
        folder: Path. Holds `recipe.yaml`, `run.json` (versions and devices of each start),
            `labels.json`, `history.csv`, `tensorboard/` and `model.keras`; when finished also
            `metrics.json` and `details.json` (AP of each class, mean score of the positives),
            measured on that very file, and the same in `splits/` for each further split;
            `best.keras`, the model of the epoch with the highest AP
            among those evaluated; and, if something was left out of the data, `problems.txt`. A
            stopped run has `checkpoints/` to go on from.
        recipe: Recipe. As it was resolved.
        finished: bool. Whether all epochs are complete.
        evaluation: Evaluation or None. Of `model.keras`; None if the run was stopped.
    """

    folder: Path
    recipe: Recipe
    finished: bool
    evaluation: Evaluation | None


def train(
    recipe: Recipe, output=None, extras=True, callbacks=(), checkpoint_minutes=CHECKPOINT_MINUTES
) -> Run:
    """Trains a detector into a new folder.

    The model that is kept and evaluated is the one after the last epoch. The one with the highest
    AP on the way is kept too, as `best.keras`; its AP is no fair figure, since it was chosen by
    it. Ctrl-C, SIGTERM and SIGHUP end training after the step at hand and leave a run for `resume`.

    Args:
        recipe: Recipe. What to train, on what and how.
        output: str or Path. The run's folder. Defaults to `None`: `runs/` and the recipe's name,
            with a number where that exists.
        extras: bool. Write figures, images and an export, too. Defaults to `True`.
        callbacks: sequence of keras.callbacks.Callback. Called after the evaluation, so that they
            see AP in the logs of an epoch that was evaluated, and before the logs are written.
        checkpoint_minutes: float. Longest time between two checkpoints; there is one after every
            epoch, too. Defaults to `10`.

    Returns:
        Run.

    Raises:
        UserError: If the recipe cannot be followed, `output` is in use or cannot be written to,
            memory runs out, or the loss or a weight becomes NaN.

    Example:

    ```python
    run = train(Recipe(data="voc:bccd", epochs=20), output="runs/bccd")
    print(run.evaluation.metrics["AP"])
    ```
    """
    _require_minutes(checkpoint_minutes)
    asked, recipe = recipe, resolve(recipe)
    if line := weights_line(asked):
        line_console().print(line)
    with new_folder(recipe, output) as folder:
        return _run(recipe, folder, extras, callbacks, checkpoint_minutes)


def resume(
    folder, extras=True, callbacks=(), checkpoint_minutes=CHECKPOINT_MINUTES, extend_to=None
) -> Run:
    """Goes on with a stopped run; the result is that of a run that was never stopped.

    Args:
        folder: str or Path. The run's folder.
        extras: bool. As for `train`.
        callbacks: sequence of keras.callbacks.Callback. Their own state is not restored.
        checkpoint_minutes: float. As for `train`.
        extend_to: int or None. Number of epochs in all, more than the run was started with; the
            rest of the run follows the learning rate of that longer training. It is written into
            `recipe.yaml` and `run.json`. Defaults to `None`, those of the recipe.

    Returns:
        Run. Of a run that is finished already: without its evaluation, and nothing is done.

    Raises:
        UserError: If there is no run in the folder, if its recipe or data are not those that it was
            started with, or if what it was stopped with cannot be used.
    """
    _require_minutes(checkpoint_minutes)
    folder = Path(folder)
    if not (folder / RECIPE_FILE).is_file():
        raise UserError(f"{folder}: expected the folder of a run, with {RECIPE_FILE} in it")
    with claimed(folder):
        recipe = read_recipe(folder / RECIPE_FILE)
        if (folder / METRICS_FILE).exists():
            return _finished(recipe, folder, extend_to)
        recipe = resolve(recipe)
        state = _stopped_state(folder)
        if extend_to is not None:
            recipe, state = _extended(recipe, state, extend_to)
        return _run(recipe, folder, extras, callbacks, checkpoint_minutes, state)


@contextlib.contextmanager
def new_folder(recipe: Recipe, output=None):
    """Claims the folder for a new run; it is removed if nothing is put in it.

    Args:
        recipe: Recipe.
        output: str, Path or None. As for `train`.

    Yields:
        Path.

    Raises:
        UserError: If `output` is there already and not an empty folder, or another process has
            claimed it, or it cannot be made.
    """
    folders = [Path(output)] if output is not None else _numbered(Path("runs") / recipe.name)
    with contextlib.ExitStack() as claim:
        for folder in folders:
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder}: expected a folder; this is a file")
            try:
                claim.enter_context(claimed(folder))
                _require_empty(folder)
                break
            except FolderInUse:
                if output is not None:
                    raise
                claim.close()
        yield folder


def _numbered(first):
    """`first`, `first-2`, `first-3`, ... that are not there yet."""
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return (folder for folder in itertools.chain([first], others) if not folder.exists())


def _require_empty(folder):
    if not is_empty(folder):
        hint = f" Go on with it by --resume {folder}." if (folder / RECIPE_FILE).exists() else ""
        raise FolderInUse(f"{folder}: the folder is not empty; choose another --output.{hint}")


def _run(recipe, folder, extras, callbacks, checkpoint_minutes, state=None):
    say = line_console().print
    # Nothing is written before all of the request has proved good.
    keras.utils.set_random_seed(recipe.seed)
    record = Record.read(state.about["record"]) if state else None
    if record:
        record.require_recipe(folder, recipe)
    with as_user_error():
        train_data, eval_data = load_both(recipe)
        if not train_data.class_names:
            raise UserError(f"{train_data.name} {train_data.split} has no classes to learn")
        if record:
            record.require_data(folder, train_data, eval_data)
        further = {
            split: load_to_evaluate(recipe, split, train_data.class_names)
            for split in split_names(recipe.eval_split)[1:]
        }
        strategy = build_strategy(recipe)
        with strategy.scope():
            model = build_model(recipe, train_data.class_names)
        batches = build_batches(recipe, train_data, model)
        kept_of = model.backbone.get_weights() if recipe.cache_features else ()
        evaluate = Evaluator(model, eval_data)
    steps = recipe.epochs * batches.steps_per_epoch
    if round(recipe.warmup * steps) >= steps:
        raise UserError(
            f"warmup: {recipe.warmup} of {steps} steps leaves none to train at the learning rate; "
            "lower it, or train for more epochs"
        )
    compile_model(model, recipe, steps, strategy)
    loop = Loop(model, recipe.clip_norm, strategy, build_network(recipe, model))
    if state:
        with as_user_error():
            state.restore(loop.variables)
        if kept_of and not all(map(np.array_equal, kept_of, model.backbone.get_weights())):
            raise UserError(
                f"{folder}: what it started from (--start or --weights) holds other weights now "
                "than then, and so its features are others"
            )
    here = environment(strategy)
    record = record or Record.of(recipe, train_data, eval_data)
    record = record.with_session(loop.epoch, loop.step, recipe.epochs, here)
    history = History(folder / HISTORY_FILE, state.about["history"] if state else ())
    checkpoints = Checkpoints(folder / CHECKPOINTS)

    def save(ended=False):
        loop.require_finite()
        about = {"record": dataclasses.asdict(record), "history": history.rows, "ended": ended}
        checkpoints.save(loop.variables, loop.epoch, loop.step, about)

    say(f"{folder}: {recipe.model} with {recipe.loss} on {', '.join(here['devices'])}")
    hint = f"; what it holds is kept: mend that, then harmonic-tf train --resume {folder}"
    with writing_to(folder, hint), enough_memory():
        sweep(folder)
        write_head(folder, recipe, train_data, eval_data, say)
        save()
        write_record(folder, record)
        if state:
            for reason in state.passed_over:
                say(f"{reason}; going on from the one before")
            say(f"going on after epoch {loop.epoch}, step {loop.step} of the next")
        progress = ProgressReport()
        in_order = [
            EvaluateEvery(evaluate, recipe.evaluate_every),
            *callbacks,
            history,
            KeepBest(folder / "best.keras", history.best("AP")),
            TensorBoardLog(folder / "tensorboard"),
            progress,
            SaveState(save, checkpoint_minutes),
        ]
        finished = bool(state and state.about["ended"])
        with stop_on_interrupt() as should_stop:
            if not finished:
                try:
                    finished = loop.run(batches, recipe.epochs, in_order, should_stop)
                finally:
                    progress.on_train_end()
                save(ended=finished)
            save_model(model, folder / MODEL_FILE)
        if train_data.broken:
            say(f"{len(train_data.broken)} images to train on could not be read any more")
        if not finished:
            at = f"in epoch {loop.epoch + 1} of {recipe.epochs}"
            say(f"stopped {at}; {folder} can be used as it is")
            flag = "" if extras else " --no-extras"
            say(f"go on with: harmonic-tf train --resume {folder}{flag}")
            return Run(folder, recipe, False, None)
        result = _report(folder, eval_data, further, extras, say)
    return Run(folder, recipe, True, result)


def _report(folder, eval_data, further, extras, say):
    """Measures the model's file and writes what came out; `metrics.json` ends the run.

    What is measured on further splits, a dict of DetectionData, is written first.
    """
    model, _ = load_model_and_labels(folder)
    result = Evaluator(model, eval_data)()
    plain_console().print(metrics_table(result))
    if extras:
        try:
            write_extras(folder, model, result, eval_data, say)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{folder}: training is complete, but not its figures and export: {error}; "
                f"--resume {folder} tries again, and leaves them out with --no-extras"
            ) from error
    for split, data in further.items():
        say(f"  {data_summary(data)}")
        found = Evaluator(model, data)()
        plain_console().print(metrics_table(found))
        write_result(split_folder(folder, split), found)
    if eval_data.broken:
        say(f"{len(eval_data.broken)} images could not be read; their objects count as not found")
    write_result(folder, result)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return result


def _finished(recipe, folder, extend_to):
    """A run with nothing left to do, if it is the one that its recipe says."""
    if extend_to is not None:
        raise UserError(
            f"{folder} is finished and keeps no state to go on from: --extend-to {extend_to} is "
            "for stopped runs; start anew with --epochs"
        )
    record = read_record(folder)
    if record:
        record.require_recipe(folder, recipe)
    sweep(folder)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    line_console().print(f"{folder} is finished: nothing left to do")
    return Run(folder, recipe, True, None)


def _stopped_state(folder):
    """The state to go on from; None for a run that was not begun.

    Raises:
        UserError: If training was begun and there is no checkpoint that can be used.
    """
    anew = f"start anew: harmonic-tf train --config {folder / RECIPE_FILE} --output OTHER"
    try:
        state = Checkpoints(folder / CHECKPOINTS).newest()
    except ValueError as error:
        raise UserError(f"{error}; {anew}") from error
    if state is not None:
        try:
            Record.read(state.about["record"])
            for key, kind in (("history", list), ("ended", bool)):
                if not isinstance(state.about[key], kind):
                    raise ValueError(f"{key}: expected a {kind.__name__}")
        except (KeyError, ValueError) as error:
            reason = f"missing {error}" if isinstance(error, KeyError) else error
            raise UserError(
                f"{state.path}: not the checkpoint of a run: {reason}; {anew}"
            ) from None
        return state
    if (folder / RECORD_FILE).exists():
        raise UserError(f"{folder / CHECKPOINTS}: no checkpoint to go on from; {anew}")
    if any((folder / CHECKPOINTS).glob("last-*")) or (folder / HISTORY_FILE).exists():
        raise UserError(
            f"{folder} was made by harmonic-tf 0.1.0, whose checkpoints "
            f"{versions()['harmonic-tf']} does not read; {anew}"
        )
    return None


def _extended(recipe, state, epochs):
    """A recipe with more epochs, and the state of a run that was started with fewer."""
    planned = state.about["record"]["recipe"]["epochs"] if state else recipe.epochs
    if epochs <= planned:
        raise UserError(
            f"--extend-to: expected more than the {planned} epochs that the run was started with; "
            f"received {epochs}"
        )
    if state:
        record = Record.read(state.about["record"])
        record = dataclasses.replace(record, recipe={**record.recipe, "epochs": epochs})
        about = {**state.about, "record": dataclasses.asdict(record), "ended": False}
        state = dataclasses.replace(state, about=about)
    return dataclasses.replace(recipe, epochs=epochs), state


def _require_minutes(minutes):
    if not 0 < minutes < math.inf:
        raise UserError(
            f"checkpoint_minutes: expected greater than 0 and finite; received {minutes!r}"
        )


def data_summary(data):
    """One line on a data set, with the counts of what was left out."""
    line = f"{data.name} {data.split}: {len(data)} images, {len(data.class_names)} classes"
    left_out = ", ".join(f"{kind} {count}" for kind, count in data.problem_counts().items())
    return line + (f"; left out: {left_out}" if left_out else "")


def write_head(folder, recipe, train_data, eval_data, say):
    """What a run's folder holds from the start: recipe, classes, and problems in the data."""
    write_recipe(recipe, folder / RECIPE_FILE)
    write_labels(folder, Labels.of(train_data))
    for note in dict.fromkeys((*train_data.notes, *eval_data.notes)):
        say(f"  {note}")
    for data in (train_data, eval_data):
        say(f"  {data_summary(data)}")
    # Both parts of a source without splits name all that is wrong with it.
    problems = tuple(dict.fromkeys((*train_data.problems, *eval_data.problems)))
    if problems:
        content = f"{problem_report(problems)}\n".encode("utf-8", "backslashreplace")
        report = write_bytes(folder / "problems.txt", content)
        say(f"  what was left out is listed in {report}")


def write_result(folder, evaluation):
    """Writes `details.json`, then `metrics.json`, which marks the run as finished."""
    details = {
        "mean_p": evaluation.mean_p,
        "per_class": evaluation.per_class,
        "counts": evaluation.counts,
    }
    if evaluation.segm_per_class:
        details["segm_per_class"] = evaluation.segm_per_class
    write_json(folder / "details.json", details)
    write_json(folder / RESAMPLED_FILE, resampled_metrics(evaluation), indent=None)
    write_metrics(evaluation, folder / METRICS_FILE)


def write_extras(folder, model, evaluation, data, say):
    """Figures, a sheet of images with what was found, and an export."""
    from harmonic_tf.training.serving.saved_model import export_model
    from harmonic_tf.training.visualization.figures import save_run_figures
    from harmonic_tf.training.visualization.sheets import save_detection_sheet

    figures = save_run_figures(folder, evaluation)
    sheet = save_detection_sheet(evaluation, data, folder / "predictions.png")
    name = folder.resolve().name
    export = export_model(model, evaluation.labels, name=name, recipe=folder / RECIPE_FILE)
    say(f"curves and figures  {figures[0].parent}")
    say(f"images              {sheet}")
    say(f"export              {export}")
