"""What each layer of ours brings to a whole training step, beside Keras's in its place.

    python benchmarks/own_layers.py [--preset NAME ...] [--batch 1] [--repetitions 9]

A step is that of `train_step.py`. For each preset it is taken as it is, and with one thing at a
time replaced by what Keras, or the plain way, has for it. Repetitions take turns; ratios are
medians of the ratios within a turn, below 1 where ours is the faster.
"""

import argparse
import contextlib
import dataclasses
import os
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import side_by_side
from train_step import batch, train_step

from harmonic_tf import losses, models
from harmonic_tf.models.layers import roi_align
from harmonic_tf.models.layers.convolution import Conv2D
from harmonic_tf.models.layers.normalization import BatchNormalization
from harmonic_tf.models.sampling import batched_gather
from harmonic_tf.models.two_stage import TwoStage

PRESETS = ("ssd300_resnet50_fpn", "retinanet_resnet50_fpn", "faster_rcnn_resnet50_fpn")
AS_IT_IS = "as it is"


def plain_sums(values, index, weight):
    """RoIAlign's weighted sums by gathering rows, as on JAX and PyTorch."""
    gathered = (keras.ops.take(values, index[:, k], axis=0) for k in range(index.shape[1]))
    return sum(rows * weight[:, k, None] for k, rows in enumerate(gathered))


def without_second_pass(model):
    """Lets the RPN learn from its predictions for all anchors."""

    def gathered(outputs, index):
        return {
            key: batched_gather(outputs[f"rpn_{key}"], index) for key in ("box", "classification")
        }

    rpn, *others = model.stages
    model.stages = (dataclasses.replace(rpn, sampled=gathered), *others)


def variants(preset):
    """Name -> (what is patched while the step is traced, what is done to the model)."""
    nothing = contextlib.nullcontext
    found = {
        AS_IT_IS: (nothing, None),
        "Keras's Conv2D": (lambda: mock.patch.object(Conv2D, "_can_be_products", no), None),
        "Keras's BatchNormalization": (
            lambda: mock.patch.object(BatchNormalization, "_has_kernel", no),
            None,
        ),
    }
    if issubclass(models.PRESETS[preset], TwoStage):
        found["RPN on all anchors"] = (nothing, without_second_pass)
        found["RoIAlign by gathering"] = (
            lambda: mock.patch.object(roi_align, "_sparse_product", plain_sums),
            None,
        )
    return found


def no(*_):
    return False


def steps_of(preset, options):
    steps = {}
    for name, (patched, change) in variants(preset).items():
        keras.utils.set_random_seed(0)
        size = None if options.size is None else (options.size, options.size)
        with patched():
            model = models.from_preset(preset, num_classes=options.classes, image_size=size)
            if change:
                change(model)
            data = batch(options.batch, model.image_size, options.classes)
            steps[name] = train_step(model, *data, loss=losses.HarmonicDetLoss())
            steps[name]()  # traces it
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", nargs="+", default=PRESETS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, help="of images, px; by default the preset's")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    for preset in options.preset:
        turns = side_by_side.take_turns(steps_of(preset, options), options.repetitions)
        as_it_is = turns[AS_IT_IS]
        for field in ("wall", "cpu"):
            base = [getattr(turn, field) for turn in as_it_is]
            for name, own in turns.items():
                values = [getattr(turn, field) for turn in own]
                text = side_by_side.ratio(base, values) if own is not as_it_is else "1"
                print(f"{preset:28} {field:5} {name:28} {text}", flush=True)


if __name__ == "__main__":
    main()
