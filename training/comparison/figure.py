"""The figure of a comparison: where along the IoU thresholds a loss gains."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from harmonic_tf.training.comparison.report import Comparison
from harmonic_tf.training.visualization.figures import COLORS, panels

#: Name of a number -> the IoU, in percent, from which a detection counts as right.
THRESHOLDS = {f"AP{iou}": iou for iou in (50, 60, 70, 75, 80, 90)}


def precision_by_threshold(comparison: Comparison) -> Figure:
    """AP by IoU threshold for each loss, and the last loss minus each of the others.

    Args:
        comparison: Comparison. Lines are means over its seeds; bands one standard deviation; bars
            the 95 % interval of the paired difference.

    Returns:
        matplotlib Figure.
    """
    figure, (levels, gains) = panels(2)
    numbers = [number for number in THRESHOLDS if number in comparison.numbers]
    ious = np.array([THRESHOLDS[number] for number in numbers])
    *others, last = comparison.losses
    for loss, color in zip(comparison.losses, itertools.cycle(COLORS), strict=False):
        found = [comparison.summary(loss, number) for number in numbers]
        means = np.array([summary.mean for summary in found])
        spread = np.array([summary.sd or 0.0 for summary in found])
        levels.fill_between(ious, means - spread, means + spread, color=color, alpha=0.15, lw=0)
        levels.plot(ious, means, color=color, label=loss, marker="o", markersize=4)
    for place, (other, color) in enumerate(zip(others, itertools.cycle(COLORS), strict=False)):
        found = [comparison.difference(other, number) for number in numbers]
        means = np.array([difference.mean for difference in found])
        ends = [difference.interval or (difference.mean,) * 2 for difference in found]
        reach = np.abs(np.transpose(ends) - means)
        beside = ious + 0.5 * (place - (len(others) - 1) / 2)  # so that no bar hides another
        bars = {"marker": "o", "markersize": 4, "capsize": 2}
        gains.errorbar(beside, means, reach, color=color, label=f"− {other}", **bars)
    gains.axhline(0, color="black", linewidth=0.8)
    levels.set_ylim(bottom=0)
    levels.set_ylabel("AP, %")
    gains.set_ylabel(f"{last} minus another loss")
    for axes in (levels, gains):
        axes.set_xlabel("IoU threshold, %")
        if axes is levels or others:
            axes.legend(frameon=False, fontsize=9)
    return figure
