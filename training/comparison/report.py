"""What the runs of a comparison came to, as numbers, tables and JSON."""

import json
import os
import platform
from dataclasses import asdict, dataclass

from rich.table import Table

from harmonic_tf.training.comparison.statistics import paired_difference, summarize
from harmonic_tf.training.errors import UserError

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
    """

    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    values: dict

    @property
    def numbers(self):
        """The names of the numbers that all runs have, in the order of `NUMBERS`."""
        return tuple(self.values[self.losses[0]])

    def summary(self, loss, number):
        """Mean and spread over the seeds."""
        return summarize(self.values[loss][number])

    def difference(self, reference, number):
        """The last loss minus `reference`, paired by seed."""
        return paired_difference(
            self.values[self.losses[-1]][number], self.values[reference][number]
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
    return Comparison(losses, seeds, values)


def _measured(folder):
    """The numbers of one run, by their names."""
    found = json.loads((folder / "metrics.json").read_text())
    found["mean p"] = json.loads((folder / "details.json").read_text())["mean_p"]
    for number in NUMBERS:
        if number in found and found[number] is None:
            raise UserError(f"{folder}: no {number}; its evaluation data has no objects")
    return found


def as_json(comparison: Comparison) -> dict:
    """Everything a comparison says, for `compare.json`."""
    last, others = comparison.losses[-1], comparison.losses[:-1]
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
            f"{last} - {other}": {
                number: asdict(comparison.difference(other, number))
                for number in comparison.numbers
            }
            for other in others
        },
    }


def summary_rows(comparison: Comparison):
    """Rows of the first table: a loss, then mean and spread of each number, as text."""
    for loss in comparison.losses:
        summaries = {number: comparison.summary(loss, number) for number in comparison.numbers}
        yield [loss, *(_plus_minus(n, s.mean, s.sd) for n, s in summaries.items())]


def difference_rows(comparison: Comparison):
    """Rows of the second table: another loss, then the last loss minus it, as text."""
    for other in comparison.losses[:-1]:
        row = [f"− {other}"]
        for number in comparison.numbers:
            found = comparison.difference(other, number)
            text = _plus_minus(number, found.mean, found.standard_error, sign="+")
            row.append(f"{text} (noise)" if found.within_noise else text)
        yield row


def sections(comparison: Comparison):
    """Title, corner and rows of each table."""
    n = len(comparison.seeds)
    yield f"Mean ± standard deviation over {n} seeds", "loss", summary_rows(comparison)
    if len(comparison.losses) > 1:
        title = (
            f"{comparison.losses[-1]} minus another loss, paired by seed: mean ± standard error, "
            f"n = {n}. (noise): within noise, as 0 lies in the 95 % interval"
        )
        yield title, comparison.losses[-1], difference_rows(comparison)


def tables(comparison: Comparison):
    """The tables of a comparison, for `rich`."""
    for title, corner, rows in sections(comparison):
        table = Table(title=title, title_justify="left", header_style="bold")
        table.add_column(corner)
        for number in comparison.numbers:
            table.add_column(number, justify="right")
        for row in rows:
            table.add_row(*row)
        yield table


def markdown(comparison: Comparison) -> str:
    """The tables of a comparison in Markdown."""
    parts = []
    for title, corner, rows in sections(comparison):
        head, numeric = [corner, *comparison.numbers], ["---:"] * len(comparison.numbers)
        lines = [title + ":", "", _line(head), _line(["---", *numeric])]
        parts.append("\n".join([*lines, *map(_line, rows)]))
    return "\n\n".join(parts) + "\n"


def describe(recipes, command) -> str:
    """How a comparison was made: the command, the settings, the machine."""
    recipe = recipes[0]
    settings = f"{recipe.model} on {recipe.data}, {recipe.epochs} epochs"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"    {command}\n\n{settings}; the model after the last epoch; {machine}."


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _plus_minus(number, value, spread, sign=""):
    form = NUMBERS[number]
    text = form.replace(":", f":{sign}").format(value)
    return text if spread is None else f"{text} ± {form.format(spread)}"
