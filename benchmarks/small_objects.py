r"""What `ssd_lite` owes to its finest map and to mosaics where objects are small.

    python benchmarks/small_objects.py --data voc:BCCD --image-size 96 128 --seeds 1,2 \
        --output small.json

Trains `ssd_lite` by its own recipe from ImageNet: as it is; without its finest map (stride 8) and
the anchors on it; and with `light_mosaic`. Images are small, so that objects are: prints the median
side of the objects to find, in pixels of the network's input, and AP of each.
"""

import argparse
import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from harmonic_tf import models
from harmonic_tf.models.ssd import SSD
from harmonic_tf.training.build import build_batches, compile_model, load_both
from harmonic_tf.training.data.box_statistics import input_sizes
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.files import write_json
from harmonic_tf.training.loop import Loop
from harmonic_tf.training.recipe import Recipe, resolve

MODEL = "ssd_lite"
PLAIN, COARSE, MOSAIC = "as it is", "without the map of stride 8", "light_mosaic"


def settings_of(variant, image_size):
    """Arguments of the detector in which a variant differs from the preset."""
    if variant != COARSE:
        return {}
    shapes = SSD.presets[MODEL].settings_at(image_size)["anchor_shapes"]
    return {"levels": ("P4", "P5"), "anchor_shapes": shapes[1:]}


def run(recipe, variant, train_data, eval_data):
    """Trains and evaluates once; AP and its kinds."""
    keras.utils.set_random_seed(recipe.seed)
    model = models.from_preset(
        recipe.model,
        num_classes=len(train_data.class_names),
        weights=recipe.weights,
        image_size=recipe.image_size,
        **settings_of(variant, recipe.image_size),
    )
    augmentation = MOSAIC if variant == MOSAIC else "light"
    recipe = dataclasses.replace(recipe, augmentation=augmentation)
    batches = build_batches(recipe, train_data, model)
    steps = recipe.epochs * batches.steps_per_epoch
    compile_model(model, recipe, steps, tf.distribute.get_strategy())
    Loop(model, recipe.clip_norm).run(batches, recipe.epochs)
    return evaluate_model(model, eval_data).metrics


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="shapes", help="as of harmonic-tf train")
    parser.add_argument("--image-size", type=int, nargs=2, default=(96, 128), help="height, width")
    parser.add_argument("--epochs", type=int, help="the recipe's own, where it is not said")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    arguments = parser.parse_args()
    recipe = resolve(
        Recipe(
            model=MODEL,
            data=arguments.data,
            weights="imagenet",
            image_size=tuple(arguments.image_size),
            epochs=arguments.epochs,
            cache="memory",
        )
    )
    train_data, eval_data = load_both(recipe)
    side = float(np.median(input_sizes(eval_data, recipe.image_size)))
    print(f"median side of an object: {side:.1f} px")
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        for variant in (PLAIN, COARSE, MOSAIC):
            seeded = dataclasses.replace(recipe, seed=seed)
            metrics = run(seeded, variant, train_data, eval_data)
            runs.append({"variant": variant, "seed": seed, **metrics})
            print(f"{variant}, seed {seed}: AP {metrics['AP']:.1f}, AP50 {metrics['AP50']:.1f}")
            content = {"data": arguments.data, "image_size": recipe.image_size, "side": side}
            write_json(arguments.output, {**content, "epochs": recipe.epochs, "runs": runs})


if __name__ == "__main__":
    main()
