"""Figures of a data set: its classes, and where, how large and of what shape its objects are."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harmonic_tf.training.data.box_statistics import INPUTS, aspect_ratios, centres, input_sizes
from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.visualization.figures import panels, save_figure

MOST_CLASSES = 30


def save_data_figures(data: DetectionData, folder) -> list[Path]:
    """Writes `classes.png` and `boxes.png` into a folder.

    Args:
        data: DetectionData.
        folder: str or Path.

    Returns:
        List of Path. The files written.
    """
    drawings = {"classes.png": class_counts(data), "boxes.png": box_shapes(data)}
    with warnings.catch_warnings():
        # Of letters that the font does not have: boxes stand in their place.
        warnings.filterwarnings("ignore", "Glyph")
        return [save_figure(figure, Path(folder) / name) for name, figure in drawings.items()]


def class_counts(data: DetectionData) -> Figure:
    """Objects of each class and images with some, the most frequent classes first."""
    objects = np.zeros(len(data.class_names), int)
    images = np.zeros_like(objects)
    for record in data.records:
        np.add.at(objects, record.objects.classes, 1)
        images[np.unique(record.objects.classes)] += 1
    order = np.argsort(-objects, kind="stable")[:MOST_CLASSES]
    rows = np.arange(len(order))
    figure, (axes,) = panels(1, (6.0, 1.2 + 0.28 * max(1, len(order))))
    axes.barh(rows - 0.2, objects[order], 0.4, label="objects")
    axes.barh(rows + 0.2, images[order], 0.4, label="images with some")
    axes.set_yticks(rows, [data.class_names[i] for i in order], parse_math=False)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=9)
    left_out = len(data.class_names) - len(order)
    more = f", {left_out} rarer classes left out" if left_out else ""
    axes.set_title(f"{data.name}, {data.split}{more}", loc="left", fontsize=9, parse_math=False)
    return figure


def box_shapes(data: DetectionData) -> Figure:
    """Sizes as networks see them, shapes, and where the boxes' middles lie."""
    figure, (sizes, shapes, places) = panels(3)
    for height, width in INPUTS:
        values = input_sizes(data, (height, width))
        edges = np.geomspace(1, max(height, width), 40)
        counts, _ = np.histogram(values.clip(1), edges)
        sizes.stairs(counts, edges, label=f"input of {height} x {width}", linewidth=1.6)
    sizes.set_xscale("log")
    sizes.set_xlabel("square root of the box's area in the input, px")
    sizes.legend(frameon=False, fontsize=9)
    shapes.hist(aspect_ratios(data).clip(0.1, 10), np.geomspace(0.1, 10, 40))
    shapes.set_xscale("log")
    shapes.set_xlabel("width over height of the box")
    for axes in (sizes, shapes):
        axes.set_ylabel("objects")
    x, y = centres(data).T
    counts, _, _ = np.histogram2d(y, x, bins=24, range=((0, 1), (0, 1)))
    places.imshow(counts, cmap="Blues", extent=(0, 1, 1, 0), aspect="auto")
    places.grid(False)
    places.set_xlabel("middle of the box, from left to right")
    places.set_ylabel("from top to bottom")
    return figure
