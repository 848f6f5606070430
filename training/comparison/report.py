"""What the runs of a comparison came to, as numbers, tables and JSON."""

import itertools
import json
import os
import platform
from dataclasses import asdict, dataclass, field

from rich.table import Table

from harmonic_tf.training.comparison.statistics import (
    paired_difference,
    resampled_difference,
    summarize,
)
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.evaluation.resampling import RESAMPLED_FILE
from harmonic_tf.training.visualization.figures import read_history

#: Name of a number -> how it is written. AIC falls when all scores rise: read it beside mean p.
#: The AP of masks is there where all runs have it.
NUMBERS = {
    **dict.fromkeys(("AP", "AP50", "AP60", "AP70", "AP75", "AP80", "AP90"), "{:.1f}"),
    **dict.fromkeys(("segm_AP", "segm_AP50", "segm_AP75"), "{:.1f}"),
    "AIC": "{:.3f}",
    "mean p": "{:.3f}",
}


@dataclass(frozen=True)
class Comparison:
    """What the runs of a comparison came to.

    Attributes:
        losses: tuple of str. The last is compared with each of the others.
        seeds: tuple of int.
        values: dict. Loss -> number's name -> list of float, one for each seed.
        resampled: dict. Loss -> number's name -> for each seed, a list of the number on every
            resample of the images; empty if not all runs have them.
    """

    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    values: dict
    resampled: dict = field(default_factory=dict)

    @property
    def numbers(self):
        """The names of the numbers that all runs have, in the order of `NUMBERS`."""
        return tuple(self.values[self.losses[0]])

    def summary(self, loss, number):
        """Mean and spread over the seeds."""
        return summarize(self.values[loss][number])

    def difference(self, reference, number, loss=None):
        """A loss, by default the last, minus `reference`, paired by seed."""
        loss = loss or self.losses[-1]
        return paired_difference(self.values[loss][number], self.values[reference][number])

    @property
    def resampled_numbers(self):
        """The names of the numbers that are known on resamples of the images."""
        known = self.resampled[self.losses[0]] if self.resampled else ()
        return tuple(number for number in self.numbers if number in known)

    def difference_over_images(self, reference, number, loss=None):
        """The same difference, as uncertain as the evaluation images make it."""
        loss = loss or self.losses[-1]
        return resampled_difference(
            self.difference(reference, number, loss).mean,
            self.resampled[loss][number],
            self.resampled[reference][number],
        )


def collect(runs) -> Comparison:
    """Reads what finished runs came to.

    Args:
        runs: dict. Folder -> Recipe.

    Returns:
        Comparison.

    Raises:
        UserError: If a number could not be measured.
    """
    losses = tuple(dict.fromkeys(recipe.loss for recipe in runs.values()))
    seeds = tuple(dict.fromkeys(recipe.seed for recipe in runs.values()))
    folders = {(recipe.loss, recipe.seed): folder for folder, recipe in runs.items()}
    measured = {place: _measured(folder) for place, folder in folders.items()}
    numbers = [name for name in NUMBERS if all(name in found for found in measured.values())]
    values = {
        loss: {number: [measured[loss, seed][number] for seed in seeds] for number in numbers}
        for loss in losses
    }
    draws = {place: _resampled(folder) for place, folder in folders.items()}
    resampled = {}
    if all(draws.values()):
        resampled = {
            loss: {
                number: [draws[loss, seed][number] for seed in seeds]
                for number in draws[loss, seeds[0]]
            }
            for loss in losses
        }
    return Comparison(losses, seeds, values, resampled)


def _measured(folder):
    """The numbers of one run, by their names."""
    try:
        found = json.loads((folder / "metrics.json").read_text("utf-8"))
        found["mean p"] = json.loads((folder / "details.json").read_text("utf-8"))["mean_p"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: metrics.json or details.json cannot be used ({error!r}); remove the "
            "folder to train it anew"
        ) from error
    for number in NUMBERS:
        if number in found and found[number] is None:
            raise UserError(f"{folder}: no {number}; its evaluation data has no objects")
    return found


def _resampled(folder):
    """The numbers of one run on resamples of the images; None if it was made without."""
    file = folder / RESAMPLED_FILE
    return json.loads(file.read_text("utf-8")) if file.exists() else None


def as_json(comparison: Comparison) -> dict:
    """Everything a comparison says, for `compare.json`: the differences of all pairs of losses."""
    pairs = [(loss, other) for other, loss in itertools.combinations(comparison.losses, 2)]
    return {
        "losses": comparison.losses,
        "seeds": comparison.seeds,
        "values": comparison.values,
        "summaries": {
            loss: {
                number: asdict(comparison.summary(loss, number)) for number in comparison.numbers
            }
            for loss in comparison.losses
        },
        "differences": {
            f"{loss} - {other}": {
                number: _difference(comparison.difference(other, number, loss))
                for number in comparison.numbers
            }
            for loss, other in pairs
        },
        "differences_over_images": {
            f"{loss} - {other}": {
                number: _difference(comparison.difference_over_images(other, number, loss))
                for number in comparison.resampled_numbers
            }
            for loss, other in pairs
        },
    }


def _difference(found):
    return {**asdict(found), "within_noise": found.within_noise}


def summary_rows(comparison: Comparison):
    """Rows of the first table: a loss, then mean and spread of each number, as text."""
    for loss in comparison.losses:
        summaries = {number: comparison.summary(loss, number) for number in comparison.numbers}
        yield [loss, *(_plus_minus(n, s.mean, s.sd) for n, s in summaries.items())]


def difference_rows(comparison: Comparison, numbers, difference):
    """Rows of a table of differences: another loss, then the last loss minus it, as text.

    Args:
        comparison: Comparison.
        numbers: names of its numbers.
        difference: function of another loss and a number to a `Difference`.
    """
    for other in comparison.losses[:-1]:
        found = {number: difference(other, number) for number in numbers}
        yield [f"− {other}", *(_with_interval(number, d) for number, d in found.items())]


def sections(comparison: Comparison):
    """Title, head and rows of each table."""
    n, last, numbers = len(comparison.seeds), comparison.losses[-1], comparison.numbers
    title = f"Mean ± standard deviation over {_counted(n, 'seed')}"
    yield title, ["loss", *numbers], summary_rows(comparison)
    if len(comparison.losses) == 1:
        return
    title = (
        f"{last} minus another loss, paired by seed, n = {n}: mean and 95 % interval over seeds "
        "(Student's t; noise: 0 lies in it)"
    )
    rows = difference_rows(comparison, numbers, comparison.difference)
    yield title, [last, *numbers], rows
    numbers = comparison.resampled_numbers
    if numbers:
        title = (
            f"{last} minus another loss, paired by image: mean over the seeds and 95 % interval "
            "over the evaluation images (bootstrap)"
        )
        rows = difference_rows(comparison, numbers, comparison.difference_over_images)
        yield title, [last, *numbers], rows


def tables(comparison: Comparison):
    """The tables of a comparison, for `rich`: a row for each number, as a terminal is narrow."""
    for title, head, rows in sections(comparison):
        (corner, *losses), *lines = zip(head, *rows, strict=True)
        table = Table(title=title, title_justify="left", header_style="bold")
        table.add_column(corner, overflow="fold")
        for loss in losses:
            table.add_column(loss, justify="right", overflow="fold")
        for line in lines:
            table.add_row(*line)
        yield table


def markdown(comparison: Comparison) -> str:
    """The tables of a comparison in Markdown."""
    parts = []
    for title, head, rows in sections(comparison):
        rule = ["---", *["---:"] * (len(head) - 1)]
        lines = [title + ":", "", _line(head), _line(rule)]
        parts.append("\n".join([*lines, *map(_line, rows)]))
    return "\n\n".join(parts) + "\n"


def processor_hours(folders):
    """Hours of all cores' time in the epochs of all runs; None if one does not say."""
    try:
        spent = [read_history(folder)["processor_seconds"].sum() for folder in folders]
    except (OSError, ValueError, KeyError):
        return None
    return float(sum(spent)) / 3600


def describe(recipes, command, hours) -> str:
    """How a comparison was made: the command, the settings, the machine, the hours if known."""
    recipe = recipes[0]
    settings = f"{recipe.model} on {recipe.data}, {_counted(recipe.epochs, 'epoch')}"
    machine = f"{platform.machine()}, {_counted(os.cpu_count(), 'core')}"
    spent = "" if hours is None else f"; {hours:.2f} hours of processor time in the epochs"
    return f"    {command}\n\n{settings}; the model after the last epoch; {machine}{spent}."


def _counted(count, thing):
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _plus_minus(number, value, spread):
    form = NUMBERS[number]
    text = form.format(value)
    return text if spread is None else f"{text} ± {form.format(spread)}"


def _with_interval(number, difference):
    form = NUMBERS[number].replace(":", ":+")
    text = form.format(difference.mean)
    if difference.interval is not None:
        low, high = map(form.format, difference.interval)
        text += f" [{low}, {high}]"
    return f"{text} (noise)" if difference.within_noise else text
