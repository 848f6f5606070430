"""What a training at full scale costs, by counting: no figure here was timed.

    python benchmarks/arithmetic.py --images 16551 --models ssd300_resnet50_fpn,dssd320_resnet50
    python benchmarks/arithmetic.py --images 117266 --models retinanet_resnet50_fpn

Counts the multiplications and additions of a preset's network for one image, by TensorFlow's
profiler, takes a step of training for three times that (forward, and backward to inputs and to
weights), and divides that of all epochs of the preset's recipe by what a GPU sustains.
"""

import argparse

import tensorflow as tf

from harmonic_tf import models
from harmonic_tf.training.recipe import model_defaults

TRAINING = 3


def operations(name, num_classes):
    """Of the network of a preset, for one image."""
    model = models.from_preset(name, num_classes=num_classes)
    images = tf.TensorSpec((1, *model.image_size, 3), "float32")
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(images).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", required=True, help="presets, with commas between")
    parser.add_argument("--images", type=int, default=16551, help="to train on: VOC 07+12's")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument(
        "--teraflops", type=float, default=30.0, help="a second, that the GPU sustains"
    )
    arguments = parser.parse_args()
    print("| preset | GFLOP an image | epochs | GPU hours a run |")
    print("|---|---:|---:|---:|")
    for name in arguments.models.split(","):
        count, epochs = operations(name, arguments.classes), model_defaults(name)["epochs"]
        seconds = TRAINING * count * arguments.images * epochs / (arguments.teraflops * 1e12)
        print(f"| `{name}` | {count / 1e9:.0f} | {epochs} | {seconds / 3600:.1f} |")


if __name__ == "__main__":
    main()
