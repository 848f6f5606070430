"""Which positives count: the factors of a loss by IoU and score, of a trained detector's rows.

    harmonic-tf train --data shapes --output runs/shapes
    python benchmarks/factors.py runs/shapes --output factors

Draws, for the positives of the images that a run was evaluated on, the mean factor on the loss of
scores against IoU and on the loss of boxes against the score, for the paper's form (12), for
harmonic_norm and for the control constant_factors: the same predictions, judged by each. Writes
`OUTPUT.json` and `OUTPUT.png`.
"""

import argparse
from pathlib import Path

import numpy as np

from harmonic_tf.training.build import load_to_evaluate
from harmonic_tf.training.data import eval_batches, network_boxes
from harmonic_tf.training.eval_splits import split_names
from harmonic_tf.training.files import write_json
from harmonic_tf.training.labels import load_model_and_labels
from harmonic_tf.training.losses import build_loss
from harmonic_tf.training.recipe import read_recipe
from harmonic_tf.training.visualization.figures import COLORS, panels, save_figure

FORMS = ("constant_factors", "harmonic_det", "harmonic_norm")
EDGES = np.linspace(0, 1, 11)


def positives(folder):
    """IoU, p, beta_r and beta_c of the positives, an array of each."""
    recipe = read_recipe(folder / "recipe.yaml")
    model, labels = load_model_and_labels(folder)
    data = load_to_evaluate(recipe, split_names(recipe.eval_split)[0], labels.class_names)
    loss = build_loss("harmonic_det", model.loss_settings)
    found = []
    for batch in eval_batches(
        data, image_size=model.image_size, batch_size=16, resize=model.resize
    ):
        raw = model(batch["images"], training=False)
        targets = model.encode_targets(network_boxes(batch), predictions=raw)
        _, parts = loss.with_parts(targets, model.loss_inputs(raw, targets))
        chosen = np.asarray(parts.positive) > 0
        found.append([np.asarray(x)[chosen] for x in (parts.iou, parts.p, *parts[4:6])])
    return (np.concatenate(column) for column in zip(*found, strict=True))


def factors(form, beta):
    """What stands before a loss in equation 12, over all positives as one batch."""
    settings = build_loss(form, {}).get_config()
    if not settings["harmonic"]:
        return np.full_like(beta, settings["constant_factor"])
    factor = settings["factor_offset"] + beta
    return 2 * factor / factor.mean() if settings["normalize_factors"] else factor


def by_bin(x, values):
    """The mean of the values whose x lies in each bin; None where there are fewer than ten."""
    place = np.clip(np.digitize(x, EDGES) - 1, 0, len(EDGES) - 2)
    own = [values[place == index] for index in range(len(EDGES) - 1)]
    return [round(float(part.mean()), 3) if len(part) >= 10 else None for part in own]


def draw(curves, shares):
    """The two factors, each against what it follows, over the share of positives in each bin."""
    figure, both = panels(2)
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    for axes, name, label in zip(both, curves, ("IoU u", "score p"), strict=True):
        axes.bar(middles, shares[name], 0.09, color="#dddddd", label="share of positives × 10")
        for (form, values), color in zip(curves[name].items(), COLORS, strict=False):
            known = [(x, y) for x, y in zip(middles, values, strict=True) if y is not None]
            axes.plot(*zip(*known, strict=True), color=color, label=form, marker="o", markersize=4)
        axes.set_xlabel(f"{label} of a positive")
        axes.set_ylabel(f"factor on the loss of {name}")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9)
    return figure


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of harmonic-tf train")
    parser.add_argument("--output", type=Path, required=True, help="what is written, without .png")
    arguments = parser.parse_args()
    iou, p, beta_r, beta_c = positives(arguments.run)
    curves = {
        "scores": {form: by_bin(iou, factors(form, beta_r)) for form in FORMS},
        "boxes": {form: by_bin(p, factors(form, beta_c)) for form in FORMS},
    }
    shares = {
        name: (10 * np.histogram(x, EDGES)[0] / len(x)).round(3).tolist()
        for name, x in (("scores", iou), ("boxes", p))
    }
    content = {"positives": len(iou), "edges": EDGES.round(2).tolist(), "factors": curves}
    write_json(arguments.output.with_suffix(".json"), {**content, "shares_times_ten": shares})
    save_figure(draw(curves, shares), arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
