r"""Where losses differ: AP of objects by how much they overlap another of their class.

    harmonic-tf compare --losses constant_factors,harmonic_norm --seeds 1,2,3 --output runs/cells
    python benchmarks/overlap.py runs/cells --losses constant_factors,harmonic_norm \
        --output overlap

Evaluates the model of each run of a comparison on the images that it was evaluated on. An object
belongs to the bin of its largest IoU with another object of its class; the others are ignored
there, as COCO ignores small objects for the AP of large ones. A false detection counts in every
bin, so that a bin is compared between losses, not with another bin. Writes `OUTPUT.json` and
`OUTPUT.png`.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from harmonic_tf.training.build import load_to_evaluate
from harmonic_tf.training.comparison.statistics import paired_difference
from harmonic_tf.training.eval_splits import split_names
from harmonic_tf.training.evaluation.average_precision import box_ious, coco_metrics
from harmonic_tf.training.evaluation.evaluator import Evaluator
from harmonic_tf.training.files import write_json
from harmonic_tf.training.labels import load_model_and_labels
from harmonic_tf.training.recipe import read_recipe
from harmonic_tf.training.visualization.figures import COLORS, panels, save_figure

EDGES = (0.0, 0.05, 0.2, 0.35, 1.0)
BINS = [f"{low:.2f}-{high:.2f}" for low, high in itertools.pairwise(EDGES)]
NUMBERS = ("AP", "AP50", "AP75", "AP80")


def overlaps(ground_truth):
    """The largest IoU of each object with another of its class in its image, `(N,)`."""
    found = np.zeros(len(ground_truth))
    groups = {}
    for place, item in enumerate(ground_truth):
        groups.setdefault((item["image_id"], item["category_id"]), []).append(place)
    for places in groups.values():
        boxes = [ground_truth[place]["bbox"] for place in places]
        ious = box_ious(boxes, boxes)
        np.fill_diagonal(ious, 0.0)
        found[places] = ious.max(axis=1)
    return found


def by_overlap(evaluation):
    """The numbers of each bin, `{bin: {number: percent}}`, and how many objects it has."""
    truth, labels = evaluation.ground_truth, evaluation.labels
    place = np.clip(np.digitize(overlaps(truth), EDGES) - 1, 0, len(BINS) - 1)
    numbers, counts = {}, {}
    for index, name in enumerate(BINS):
        own = [
            {**item, "difficult": item["difficult"] or at != index}
            for item, at in zip(truth, place, strict=True)
        ]
        counts[name] = sum(not (item["difficult"] or item["iscrowd"]) for item in own)
        metrics, _ = coco_metrics(
            evaluation.image_ids,
            own,
            evaluation.detections,
            labels.class_names,
            labels.category_ids,
        )
        numbers[name] = {number: metrics[number] for number in NUMBERS}
    return numbers, counts


def measure(runs, losses):
    """`{loss: {seed: {bin: {number: percent}}}}` of the runs, and how many objects a bin has."""
    found, data, counts = {loss: {} for loss in losses}, None, None
    for loss in losses:
        for folder in sorted(runs.glob(f"{loss}-seed*")):
            recipe = read_recipe(folder / "recipe.yaml")
            model, labels = load_model_and_labels(folder)
            if data is None:
                split = split_names(recipe.eval_split)[0]
                data = load_to_evaluate(recipe, split, labels.class_names)
            numbers, counts = by_overlap(Evaluator(model, data, 16)(title=folder.name))
            found[loss][recipe.seed] = numbers
            print(folder.name, json.dumps(numbers), flush=True)
    return found, counts


def draw(found, counts, number):
    """AP of each loss by overlap, and the last loss minus the others, paired by seed."""
    figure, (levels, gains) = panels(2)
    *others, last = found
    seeds = sorted(set.intersection(*(set(runs) for runs in found.values())))
    values = {
        loss: [[runs[seed][name][number] for seed in seeds] for name in BINS]
        for loss, runs in found.items()
    }
    x = np.arange(len(BINS))
    for loss, color in zip(found, COLORS, strict=False):
        levels.plot(x, np.mean(values[loss], axis=1), color=color, label=loss, marker="o")
    for place, (other, color) in enumerate(zip(others, COLORS, strict=False)):
        pairs = zip(values[last], values[other], strict=True)
        differences = [paired_difference(*pair) for pair in pairs]
        means = np.array([difference.mean for difference in differences])
        ends = [difference.interval or (difference.mean,) * 2 for difference in differences]
        gains.errorbar(
            x + 0.12 * (place - (len(others) - 1) / 2),
            means,
            np.abs(np.transpose(ends) - means),
            color=color,
            label=f"− {other}",
            marker="o",
            capsize=2,
            linestyle="none",
        )
    gains.axhline(0, color="black", linewidth=0.8)
    levels.set_ylabel(f"{number}, %")
    levels.set_ylim(bottom=0)
    gains.set_ylabel(f"{last} minus another loss")
    for axes in (levels, gains):
        axes.set_xticks(x, [f"{name}\n{counts[name]} objects" for name in BINS], fontsize=8)
        axes.set_xlabel("largest IoU with an object of the same class")
        axes.legend(frameon=False, fontsize=9)
    return figure


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of harmonic-tf compare")
    parser.add_argument("--losses", required=True, help="of the comparison, with commas between")
    parser.add_argument("--number", choices=NUMBERS, default="AP", help="what is drawn")
    parser.add_argument("--output", type=Path, required=True, help="what is written, without .png")
    arguments = parser.parse_args()
    found, counts = measure(arguments.runs, arguments.losses.split(","))
    content = {"objects": counts, "losses": found}
    write_json(arguments.output.with_suffix(".json"), content)
    save_figure(draw(found, counts, arguments.number), arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
