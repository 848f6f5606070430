"""Figures of a run: its curves, the paper's Figure 4 and the paper's Figure 5."""

import csv
import io
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from harmonic_tf.training.evaluation.average_precision import box_ious
from harmonic_tf.training.files import write_bytes
from harmonic_tf.training.visualization.drawing import PALETTE

HISTORY_FILE = "history.csv"
HARMONIOUS = 0.5

#: Column of the history -> what its curve is called. Any other `..._loss` goes by its own name.
LOSSES = {
    "loss": "total",
    "classification_loss": "classification",
    "box_loss": "box",
    "contrastive_loss": "task-contrastive",
    "coupling_loss": "coupling: what the factors add",
    "arm_loss": "anchor refinement",
    "rpn_loss": "region proposals",
    "head1_loss": "first head",
    "head2_loss": "second head",
    "mask_loss": "masks",
}
PRECISIONS = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "segm_AP": "AP of masks"}

# What a column was called in runs made by 0.1 -> what it is called.
_OLDER_NAMES = {
    "aic": "inconsistency",
    "first_stage_loss": "head1_loss",
    "second_stage_loss": "head2_loss",
}
COLORS = [tuple(c / 255 for c in PALETTE[i]) for i in (5, 0, 2, 3, 4, 1, 7, 8, 9, 6)]
_DENSITY = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256)))
_INK, _FAINT, _RED = "#333333", "#dddddd", "#c1272d"


def read_history(folder) -> dict:
    """Reads a run's `history.csv`.

    Args:
        folder: str or Path. The run's folder.

    Returns:
        Dict. Name of column -> float array (epochs,), NaN where a cell is empty.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a cell is no number.
    """
    path = Path(folder) / HISTORY_FILE
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {
            _OLDER_NAMES.get(name, name): np.array([float(row[name] or math.nan) for row in rows])
            for name in (rows[0] if rows else {})
        }
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a number in each cell or nothing; {error}") from error


def training_curves(history) -> Figure:
    """The loss and the parts that it is the sum of, and AP on the evaluation data, by epoch.

    Args:
        history: dict. Name of column -> array (epochs,). Missing columns are left out.

    Returns:
        matplotlib Figure.
    """
    figure, (losses, precisions) = panels(2)
    _lines(losses, history, _losses_of(history), "training loss")
    _lines(precisions, history, PRECISIONS, "AP, %")
    losses.set_ylim(bottom=0)
    precisions.set_ylim(bottom=0)
    return figure


def harmonic_factors(history) -> Figure:
    """The mean harmonic factors 1 + beta_r and 1 + beta_c of the positives: Figure 4 (a).

    They are the paper's, also where the loss made others of beta (`factor_offset`, ...).

    Args:
        history: dict. With `beta_r` and `beta_c`, the means without the 1.

    Returns:
        matplotlib Figure.
    """
    figure, (axes,) = panels(1)
    names = {
        "beta_r": r"$1 + \beta_r$, weighs the score's loss",
        "beta_c": r"$1 + \beta_c$, weighs the box's loss",
    }
    shifted = {key: 1 + history[key] for key in ("beta_r", "beta_c") if key in history}
    _lines(axes, {**history, **shifted}, names, r"mean of the paper's factors, $1 + \beta$")
    axes.set_ylim(1, 2)
    return figure


def inconsistency(history) -> Figure:
    """The average inconsistency coefficient (14) of the positives: Figure 4 (b).

    The mean score is drawn beside it, since AIC changes with that alone.

    Args:
        history: dict. With `inconsistency`, and `mean_p` if known.

    Returns:
        matplotlib Figure.
    """
    figure, (axes,) = panels(1)
    names = {"inconsistency": r"AIC, mean $|p - \mathrm{IoU}|$", "mean_p": r"mean score $p$"}
    _lines(axes, history, names, "training positives")
    axes.set_ylim(0, 1)
    return figure


def score_iou_pairs(evaluation):
    """Score, and IoU with the nearest object of its class, of every detection.

    Args:
        evaluation: Evaluation.

    Returns:
        Tuple of float arrays (N,), `(scores, ious)`. IoU is 0 where the image has no object of
        that class. Crowd regions are no objects.
    """

    def by_place(items):
        groups = defaultdict(list)
        for item in items:
            groups[item["image_id"], item["category_id"]].append(item)
        return groups

    objects = by_place(item for item in evaluation.ground_truth if not item["iscrowd"])
    scores, ious = [], []
    for place, found in by_place(evaluation.detections).items():
        scores += [item["score"] for item in found]
        here = [item["bbox"] for item in objects.get(place, ())]
        overlaps = box_ious([item["bbox"] for item in found], here)
        ious += overlaps.max(axis=1, initial=0.0).tolist()
    return np.array(scores, float), np.array(ious, float)


def harmonious_share(scores, ious):
    """Share of the detections whose score times IoU is above 0.5: both high.

    Args:
        scores, ious: arrays (N,).

    Returns:
        float from 0 to 1, or None without detections.

    Example:

    >>> harmonious_share(np.array([0.9, 0.9]), np.array([0.8, 0.4]))
    0.5
    """
    return float(np.mean(scores * ious > HARMONIOUS)) if len(scores) else None


def consistency(scores, ious) -> Figure:
    """Score against IoU of all detections, as a density: Figure 5.

    The paper does not give its indicator curve; ours is score * IoU = 0.5. To its upper right
    score and IoU are both high.

    Args:
        scores, ious: arrays (N,). As `score_iou_pairs` returns them.

    Returns:
        matplotlib Figure.
    """
    figure, (axes,) = panels(1, size=(5.6, 4.6))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="IoU with the nearest object", ylabel="score")
    axes.set_aspect("equal")
    edge = np.linspace(HARMONIOUS, 1, 100)
    axes.fill_between(edge, HARMONIOUS / edge, 1, color=_RED, alpha=0.07, linewidth=0)
    if len(scores):
        cells = axes.hexbin(
            ious,
            scores,
            gridsize=40,
            extent=(0, 1, 0, 1),
            bins="log",
            mincnt=1,
            cmap=_DENSITY,
            linewidths=0.2,
        )
        bar = figure.colorbar(cells, ax=axes, label="detections a cell")
        bar.outline.set_visible(False)
        count = int(np.sum(scores * ious > HARMONIOUS))
        text = f"{100 * count / len(scores):.1f} % of {len(scores)} detections"
        axes.set_title(f"harmonious (score × IoU > {HARMONIOUS}): {text}", loc="left", fontsize=9)
    axes.plot(edge, HARMONIOUS / edge, color=_RED, linewidth=1.6)
    return figure


def save_figure(figure, path) -> Path:
    """Writes a figure as PNG, atomically.

    Args:
        figure: matplotlib Figure.
        path: str or Path.

    Returns:
        Path. The file written.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return write_bytes(path, content.getvalue())


def save_run_figures(folder, evaluation=None) -> list:
    """Draws what a run's folder holds into its `figures/`.

    Args:
        folder: str or Path. A run's folder, with `history.csv`.
        evaluation: Evaluation or None. Adds `consistency.png`. Defaults to `None`.

    Returns:
        List of Path. The files written: `curves.png`, `factors.png`, `aic.png` and
        `consistency.png`, those there are numbers for.
    """
    history = read_history(folder)
    drawings = {
        "curves.png": (training_curves, (*_losses_of(history), *PRECISIONS)),
        "factors.png": (harmonic_factors, ("beta_r", "beta_c")),
        "aic.png": (inconsistency, ("inconsistency",)),
    }
    figures = {
        name: draw(history)
        for name, (draw, columns) in drawings.items()
        if any(np.isfinite(history.get(column, ())).any() for column in columns)
    }
    if evaluation is not None:
        figures["consistency.png"] = consistency(*score_iou_pairs(evaluation))
    target = Path(folder) / "figures"
    return [save_figure(figure, target / name) for name, figure in figures.items()]


def _losses_of(history):
    """Columns of the history that are losses -> what their curves are called."""
    others = [name for name in history if name.endswith("_loss") and name not in LOSSES]
    return {**LOSSES, **{name: name.removesuffix("_loss").replace("_", " ") for name in others}}


def panels(columns, size=None):
    """An empty figure and its axes, side by side."""
    figure = Figure(figsize=size or (5.2 * columns, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_INK)
        axes.tick_params(colors=_INK, labelsize=9)
        axes.set_axisbelow(True)
        axes.grid(color=_FAINT, linewidth=0.6)
    return figure, all_axes


def _lines(axes, history, names, label):
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    for number, (column, name) in enumerate(names.items()):
        values = np.asarray(history.get(column, ()))
        known = np.isfinite(values)
        if known.any():
            epochs = history.get("epoch", np.arange(1, len(values) + 1))
            few = known.sum() <= 15
            axes.plot(
                epochs[known],
                values[known],
                color=COLORS[number % len(COLORS)],
                linestyle="-" if number < len(COLORS) else "--",
                label=name,
                linewidth=1.8,
                marker="o" if few else None,
                markersize=4,
            )
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)
