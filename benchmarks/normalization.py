"""Time of batch normalisation in training, forward and backward: Keras's and ours.

    python benchmarks/normalization.py [--repetitions 15]

The maps are of `ssd_tiny` at batch 16 and of ResNet-50 at 800 px. Repetitions take turns, and
ratios are medians of the ratios within a turn.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import side_by_side

from harmonic_tf.models.layers.normalization import BatchNormalization

KERAS = "Keras"
MAPS = ((16, 40, 52, 32), (16, 20, 26, 64), (1, 200, 200, 256), (1, 50, 50, 1024))
LAYERS = {KERAS: keras.layers.BatchNormalization, side_by_side.OURS: BatchNormalization}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=15)
    options = parser.parse_args()
    for shape in MAPS:
        steps = {name: side_by_side.layer_step(layer(), shape) for name, layer in LAYERS.items()}
        turns = side_by_side.take_turns(steps, options.repetitions)
        heading = "maps of " + " x ".join(map(str, shape))
        print("", side_by_side.table(heading, turns, (KERAS,)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
