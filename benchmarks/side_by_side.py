"""What the benchmarks share: the RetinaNets compared, a layer's step, their turns and their table.

All RetinaNets of a group have the same network: the same backbone, KerasCV's default feature
pyramid (P3 to P7), heads (3 convolutions of 256 channels) and 9 anchors a cell.
"""

import argparse
import importlib.util
import os
import statistics
import time
import warnings
from typing import NamedTuple

import keras
import keras_cv
import tensorflow as tf

from harmonic_tf.models import PyramidBackbone, RetinaNet
from harmonic_tf.models.backbones.backbone import level_layer_names

OURS, KERAS_CV, KERAS_HUB = "ours", "KerasCV", "KerasHub"
KERAS_CV_NIGHTLY = "KerasCV nightly"
BACKBONES = {
    "resnet18": lambda size: keras_cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=(size, size, 3),
        block_type="basic_block",
    ),
    "resnet50": lambda size: PyramidBackbone("resnet50", (size, size)),
}


def parser(doc, repetitions):
    """The options that all these benchmarks have; the help begins with the first line of `doc`."""
    options = argparse.ArgumentParser(
        description=doc.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--repetitions", type=int, default=repetitions)
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--size", type=int, default=256, help="of all but ssd_tiny's images, px")
    options.add_argument("--classes", type=int, default=80)
    options.add_argument("--quick", action="store_true", help="2 turns at 128 px")
    return options


def parse(options):
    """The parsed options, after setting up what is common; prints what the numbers hold for."""
    parsed = options.parse_args()
    if parsed.quick:
        parsed.repetitions, parsed.size = 2, 128
    warnings.filterwarnings("ignore")
    tf.get_logger().setLevel("ERROR")
    parsed.libraries = [OURS, KERAS_CV]
    if importlib.util.find_spec("keras_hub"):
        parsed.libraries.append(KERAS_HUB)
    else:
        print("KerasHub is left out: keras_hub is not installed.")
    if "dev" in keras_cv.__version__:
        parsed.libraries.append(KERAS_CV_NIGHTLY)
    print(
        f"{os.cpu_count()} cores, TensorFlow {tf.__version__}, Keras {keras.__version__}, KerasCV "
        f"{keras_cv.__version__}; batch {parsed.batch}, {parsed.classes} classes; medians of "
        f"{parsed.repetitions} turns, ratios within a turn (and their quartiles)"
    )
    return parsed


def retinanet(library, backbone, size, classes):
    """A new RetinaNet of `library` on a new backbone, a key of `BACKBONES`, for `size` px."""
    keras.utils.set_random_seed(0)
    backbone = BACKBONES[backbone](size)
    if library == KERAS_HUB:
        return _keras_hub_retinanet(backbone, classes)
    shared = {"backbone": backbone, "num_classes": classes, "bounding_box_format": "xyxy"}
    if library == OURS:
        return RetinaNet(**shared, depth=3)
    return keras_cv.models.RetinaNet(**shared)


def _keras_hub_retinanet(backbone, classes):
    import keras_hub

    levels = level_layer_names(backbone)
    outputs = {level: backbone.get_layer(name).output for level, name in levels.items()}
    encoder = keras.Model(backbone.input, outputs)
    encoder.pyramid_outputs = outputs
    pyramid = keras_hub.models.RetinaNetBackbone(
        encoder, min_level=3, max_level=7, use_p5=True, image_shape=backbone.input_shape[1:]
    )
    return keras_hub.models.RetinaNetObjectDetector(
        pyramid, classes, bounding_box_format="xyxy", pre_logits_num_conv_layers=3
    )


def layer_step(layer, shape):
    """A function that does one pass of a layer in training, forward and backward, and waits."""
    layer.build(shape)
    inputs = tf.random.normal(shape)
    upstream = tf.random.normal(layer.compute_output_shape(shape))

    @tf.function
    def gradients():
        sources = [inputs, *(weight.value for weight in layer.trainable_weights)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
        return tape.gradient(outputs, sources, upstream)

    return lambda: gradients()[0].numpy()


class Turn(NamedTuple):
    """What one call took, in seconds."""

    wall: float
    cpu: float


def take_turns(calls, repetitions):
    """Times of each call in each repetition.

    A repetition makes every call once, each time beginning with another one, so that whatever else
    the machine does meets all alike; a first one, which compiles, is not counted.

    Args:
        calls: dictionary of name to a function without arguments that returns when it is done.
        repetitions: int.

    Returns:
        Dictionary of name to a list of `repetitions` `Turn`s.
    """
    names = list(calls)
    turns = {name: [] for name in names}
    for repetition in range(-1, repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            wall, cpu = time.perf_counter(), time.process_time()
            calls[name]()
            turn = Turn(time.perf_counter() - wall, time.process_time() - cpu)
            if repetition >= 0:
                turns[name].append(turn)
    return turns


def ratio(values, base):
    """Median of the ratios within a repetition, and their quartiles."""
    ratios = [x / y for x, y in zip(values, base, strict=True)]
    if values is base or len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    low, median, high = statistics.quantiles(ratios, method="inclusive")
    return f"{median:.3f} ({low:.2f} to {high:.2f})"


def table(heading, turns, bases):
    """A Markdown table of medians, and of ratios to the calls `bases` that are there.

    Wall time comes first; CPU time, of all cores together, is the steadier where they are shared.
    """
    bases = [base for base in bases if base in turns]
    columns, rows = [heading], [[name] for name in turns]
    for field, title in (("wall", "time"), ("cpu", "CPU time")):
        values = {name: [getattr(turn, field) for turn in turns[name]] for name in turns}
        columns += [f"{title}, ms", *(f"{title} to {base}" for base in bases)]
        for row in rows:
            own = values[row[0]]
            row.append(f"{1e3 * statistics.median(own):.0f}")
            row += [ratio(own, values[base]) for base in bases]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
