"""One training run: from a recipe to a folder that holds all that came out of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
from rich.console import Console

from harmonic_tf.training.build import (
    build_batches,
    build_model,
    build_strategy,
    compile_model,
    load_both,
)
from harmonic_tf.training.callbacks import (
    EvaluateEvery,
    History,
    KeepBest,
    ProgressReport,
    SaveLast,
    TensorBoardLog,
)
from harmonic_tf.training.checkpoints import LastCheckpoint, save_model
from harmonic_tf.training.data import problem_report
from harmonic_tf.training.errors import UserError, as_user_error
from harmonic_tf.training.evaluation.evaluator import Evaluation, Evaluator, write_metrics
from harmonic_tf.training.evaluation.tables import metrics_table
from harmonic_tf.training.files import write_bytes, write_json
from harmonic_tf.training.labels import MODEL_FILE, Labels, write_labels
from harmonic_tf.training.loop import Loop, stop_on_interrupt
from harmonic_tf.training.recipe import Recipe, read_recipe, resolve, write_recipe

RECIPE_FILE = "recipe.yaml"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Run:
    """What a training run came to.

    Attributes:
        folder: Path. Holds `recipe.yaml`, `labels.json`, `history.csv`, `tensorboard/` and
            `model.keras`; when finished also `metrics.json` and `details.json` (AP of each class,
            mean score of the positives), measured on that very model; `best.keras`, the model of
            the epoch with the highest AP among those evaluated; and, if something was left out of
            the data, `problems.txt`. A stopped run has `checkpoints/` to go on from.
        recipe: Recipe. As it was resolved.
        finished: bool. Whether all epochs are complete.
        evaluation: Evaluation or None. Of the last weights; None if the run was stopped.
    """

    folder: Path
    recipe: Recipe
    finished: bool
    evaluation: Evaluation | None


def train(recipe: Recipe, output=None, extras=True, callbacks=()) -> Run:
    """Trains a detector into a new folder.

    The model that is kept and evaluated is the one after the last epoch. The one with the highest
    AP on the way is kept too, as `best.keras`; its AP is no fair figure, since it was chosen by
    it. Ctrl-C ends training after the step at hand and leaves a run for `resume`.

    Args:
        recipe: Recipe. What to train, on what and how.
        output: str or Path. The run's folder. Defaults to `None`: `runs/` and the recipe's name,
            with a number where that exists.
        extras: bool. Write figures, images and an export, too. Defaults to `True`.
        callbacks: sequence of keras.callbacks.Callback. Called after the evaluation, so that they
            see AP in the logs of an epoch that was evaluated, and before the logs are written.

    Returns:
        Run.

    Raises:
        UserError: If the recipe cannot be followed, `output` is in use, or the loss becomes NaN.

    Example:

    ```python
    run = train(Recipe(data="voc:bccd", epochs=20), output="runs/bccd")
    print(run.evaluation.metrics["AP"])
    ```
    """
    recipe = resolve(recipe)
    return _run(recipe, new_folder(recipe, output), extras, callbacks)


def resume(folder, extras=True, callbacks=()) -> Run:
    """Goes on with a stopped run; the result is that of a run that was never stopped.

    Args:
        folder: str or Path. The run's folder.
        extras: bool. As for `train`.
        callbacks: sequence of keras.callbacks.Callback. Their own state is not restored.

    Returns:
        Run. Of a run that is finished already: without its evaluation, and nothing is done.

    Raises:
        UserError: If there is no run in the folder, or its data or code no longer fit it.
    """
    folder = Path(folder)
    if not (folder / RECIPE_FILE).is_file():
        raise UserError(f"{folder}: expected the folder of a run, with {RECIPE_FILE} in it")
    recipe = resolve(read_recipe(folder / RECIPE_FILE))
    if (folder / METRICS_FILE).exists():
        Console(soft_wrap=True).print(f"{folder} is finished: nothing left to do")
        return Run(folder, recipe, True, None)
    return _run(recipe, folder, extras, callbacks)


def new_folder(recipe: Recipe, output=None) -> Path:
    """The folder for a new run, not yet made.

    Args:
        recipe: Recipe.
        output: str, Path or None. As for `train`.

    Returns:
        Path.

    Raises:
        UserError: If `output` is there already and not an empty folder.
    """
    if output is None:
        first, number = Path("runs") / recipe.name, 1
        folder = first
        while folder.exists():
            number += 1
            folder = first.with_name(f"{first.name}-{number}")
        return folder
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder; this is a file")
    if folder.exists() and any(folder.iterdir()):
        hint = f" Go on with it by --resume {folder}." if (folder / RECIPE_FILE).exists() else ""
        raise UserError(f"{folder}: the folder is not empty; choose another --output.{hint}")
    return folder


def _run(recipe, folder, extras, callbacks):
    say = Console(soft_wrap=True, highlight=False).print
    # Nothing is written before all of the request has proved good.
    keras.utils.set_random_seed(recipe.seed)
    with as_user_error():
        train_data, eval_data = load_both(recipe)
        strategy = build_strategy(recipe)
        with strategy.scope():
            model = build_model(recipe, len(train_data.class_names))
        batches = build_batches(recipe, train_data, model)
        evaluate = Evaluator(model, eval_data)
    compile_model(model, recipe, recipe.epochs * batches.steps_per_epoch, strategy)
    loop = Loop(model, recipe.clip_norm, strategy)
    checkpoint = LastCheckpoint(folder / "checkpoints", loop.variables)
    with as_user_error():
        restored = checkpoint.restore()

    say(f"[bold]{folder}[/bold]: {recipe.model} with {recipe.loss}")
    write_head(folder, recipe, train_data, eval_data, say)
    if restored:
        say(f"going on after epoch {loop.epoch}, step {loop.step} of the next")
    evaluation = EvaluateEvery(evaluate, recipe.evaluate_every)
    history = History(folder / "history.csv", loop.epoch)
    in_order = [
        evaluation,
        *callbacks,
        history,
        KeepBest(folder / "best.keras", history.best("AP")),
        TensorBoardLog(folder / "tensorboard"),
        ProgressReport(),
        SaveLast(checkpoint),
    ]
    with stop_on_interrupt() as should_stop:
        finished = loop.run(batches, recipe.epochs, in_order, should_stop)
        if not finished:
            checkpoint.save()
        save_model(model, folder / MODEL_FILE)
    if not finished:
        say(f"stopped in epoch {loop.epoch + 1} of {recipe.epochs}; {folder} can be used as it is")
        say(f"go on with: harmonic-tf train --resume {folder}")
        return Run(folder, recipe, False, None)

    result = evaluation.last or evaluate()
    write_result(folder, result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    Console().print(metrics_table(result))
    if extras:
        write_extras(folder, model, result, eval_data, say)
    return Run(folder, recipe, True, result)


def data_summary(data):
    """One line on a data set, with the counts of what was left out."""
    line = f"{data.name} {data.split}: {len(data)} images, {len(data.class_names)} classes"
    left_out = ", ".join(f"{kind} {count}" for kind, count in data.problem_counts().items())
    return line + (f"; left out: {left_out}" if left_out else "")


def write_head(folder, recipe, train_data, eval_data, say):
    """What a run's folder holds from the start: recipe, classes, and problems in the data."""
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / RECIPE_FILE)
    write_labels(folder, Labels.of(train_data))
    for data in (train_data, eval_data):
        say(f"  {data_summary(data)}")
    problems = (*train_data.problems, *eval_data.problems)
    if problems:
        report = write_bytes(folder / "problems.txt", f"{problem_report(problems)}\n".encode())
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
