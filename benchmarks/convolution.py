"""Time of a convolution in training, forward and backward: Keras's and ours.

    python benchmarks/convolution.py [--repetitions 15]

The convolutions are of ResNet-50, of a feature pyramid at 800 px and of `ssd_tiny`'s shortcuts at
batch 16. With TF_ENABLE_ONEDNN_OPTS=1 or 0 in the environment TensorFlow's kernels are those of
oneDNN or of Eigen; by default it depends on the processor. Repetitions take turns, and ratios are
medians of the ratios within a turn.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import side_by_side

from harmonic_tf.models.layers.convolution import Conv2D

KERAS = "Keras"
LAYERS = {KERAS: keras.layers.Conv2D, side_by_side.OURS: Conv2D}
# The map (B, H, W, F), then filters and kernel size.
CONVOLUTIONS = (
    ((1, 200, 200, 256), 256, 3),
    ((1, 100, 100, 256), 256, 3),
    ((4, 64, 64, 256), 256, 3),
    ((1, 200, 200, 64), 64, 3),
    ((1, 200, 200, 256), 64, 1),
    ((1, 50, 50, 1024), 256, 1),
    ((16, 20, 26, 32), 64, 1),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=15)
    options = parser.parse_args()
    for shape, filters, size in CONVOLUTIONS:
        steps = {
            name: side_by_side.layer_step(layer(filters, size, padding="same"), shape)
            for name, layer in LAYERS.items()
        }
        turns = side_by_side.take_turns(steps, options.repetitions)
        heading = f"{' x '.join(map(str, shape))} to {filters}, kernel {size}"
        print("", side_by_side.table(heading, turns, (KERAS,)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
