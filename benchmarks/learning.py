"""How fast runs of `harmonic-tf train` learned: AP over epochs, minutes or processor time.

    harmonic-tf train --data voc:BCCD --model ssd_lite --evaluate-every 5 --output runs/imagenet
    harmonic-tf train --data voc:BCCD --start voc --evaluate-every 5 --output runs/voc
    python benchmarks/learning.py runs/imagenet runs/voc --output learning.png

Draws the numbers that each run's `history.csv` holds, and writes them beside the figure as JSON.
The curve of a run is named after its folder. Times include evaluations. Wall time
compares only runs that had the same machine for themselves; processor time is that of all cores.
"""

import argparse
import itertools
import math
from pathlib import Path

import numpy as np

from harmonic_tf.training.evaluation.average_precision import METRICS
from harmonic_tf.training.files import write_json
from harmonic_tf.training.visualization.figures import COLORS, panels, read_history, save_figure

LABELS = {
    "epoch": "epochs",
    "minutes": "minutes of wall time",
    "processor_minutes": "minutes of processor time",
}
CLOCKS = {"minutes": "seconds", "processor_minutes": "processor_seconds"}


def curve(folder):
    """What a run came to at each evaluation: a list of dictionaries."""
    history = read_history(folder)
    for minutes, seconds in CLOCKS.items():
        if seconds in history:
            history[minutes] = np.cumsum(history[seconds]) / 60
    names = [name for name in (*LABELS, *METRICS) if name in history]
    return [
        {name: round(float(history[name][place]), 2) for name in names}
        for place, precision in enumerate(history["AP"])
        if not math.isnan(precision)
    ]


def draw(curves, number, by):
    """A figure of one number of all curves, a dictionary from name to `curve`."""
    figure, (axes,) = panels(1, (7, 4))
    for (name, rows), color in zip(curves.items(), itertools.cycle(COLORS), strict=False):
        values = [row[number] for row in rows]
        axes.plot([row[by] for row in rows], values, color=color, label=name, marker="o")
    axes.set_xlabel(LABELS[by])
    axes.set_ylabel(f"{number}, %")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def main():
    options = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    options.add_argument("--number", default="AP50", help="what is drawn, such as AP")
    options.add_argument(
        "--by", choices=list(LABELS), default="epoch", help="what it is drawn over"
    )
    options.add_argument("--output", type=Path, default=Path("learning.png"))
    arguments = options.parse_args()
    curves = {folder.name: curve(folder) for folder in arguments.runs}
    lacking = [n for n, rows in curves.items() if any(arguments.by not in row for row in rows)]
    if lacking:
        options.error(f"the history of {', '.join(lacking)} has no {LABELS[arguments.by]}")
    for name, rows in curves.items():
        found = ", ".join(f"{row['epoch']:.0f}: {row[arguments.number]:.1f}" for row in rows)
        print(f"{name}: {arguments.number} after epoch {found}")
    write_json(arguments.output.with_suffix(".json"), curves)
    print(save_figure(draw(curves, arguments.number, arguments.by), arguments.output))


if __name__ == "__main__":
    main()
