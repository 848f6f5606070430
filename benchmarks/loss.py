"""Time and memory of the losses, forward and backward, beside KerasCV's pair for RetinaNet.

    python benchmarks/loss.py [--quick] [--repetitions 9] [--only NAME ...]

Every variant is called from the same ordinary (not jitted) `tf.function` train step on the same
tensors: focal form, float32, 1 % positives. Repetitions take turns, so that whatever else the
machine does meets all variants alike; reported are medians. Memory (on Linux) is the highest
resident size during one step less that before it, each variant in a process of its own that has
only done the same on a small batch; the gradient that a step returns is part of it. The floor reads
logits and targets once and writes the gradient once, at the bandwidth of a plain copy.
"""

import argparse
import gc
import multiprocessing
import os
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

KERAS_CV = "KerasCV focal + smooth L1"


def tensors(batch, anchors, classes, positives=0.01, seed=0):
    """Targets and predictions as a detector at the start of its training has them."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    rows = (batch, anchors)
    positive = rng.random(rows) < positives
    index = np.where(positive, rng.integers(0, classes, rows), -1)
    y_true = {"box": rng.normal(size=(*rows, 4)), "classification": index}
    logits = rng.standard_normal((*rows, classes), dtype="float32") - 2
    y_pred = {"box": y_true["box"] + rng.normal(size=(*rows, 4)), "classification": logits}
    return tuple({k: tf.constant(v, "float32") for k, v in y.items()} for y in (y_true, y_pred))


def keras_cv_pair(classes):
    """What `keras_cv.models.RetinaNet.compile("focal", "smoothl1")` does in `compute_loss`."""
    import keras_cv
    from keras import ops

    focal = keras_cv.losses.FocalLoss(from_logits=True, reduction="sum")
    smooth_l1 = keras_cv.losses.SmoothL1Loss(l1_cutoff=1.0, reduction="sum")

    def loss(y_true, y_pred):
        index = y_true["classification"]
        labels = ops.one_hot(ops.cast(index, "int32"), classes, dtype="float32")
        positive = ops.cast(index > -1.0, "float32")
        count = ops.sum(positive)
        weights = ops.cast(ops.not_equal(index, -2.0), "float32") / count
        return focal(labels, y_pred["classification"], sample_weight=weights) + smooth_l1(
            y_true["box"], y_pred["box"], sample_weight=positive / count
        )

    return loss


def plain_loss():
    """HarmonicDetLoss as the backend differentiates it by itself: the tests' reference."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/losses"))
    import autodiff

    from harmonic_tf.ops import Settings

    settings = Settings(classification="focal")
    return lambda y_true, y_pred: autodiff.plain_loss(y_true, y_pred, settings)


def detection_loss(name, **settings):
    from harmonic_tf import losses

    return getattr(losses, name)(classification="focal", **settings)


def packed(y_true, y_pred):
    """The contract as one tensor each, as a model with one output returns it."""
    from harmonic_tf import pack

    return pack(y_true), pack(y_pred)


def written(y_true, y_pred):
    """The same as xuannianz/EfficientDet's models and targets have it."""
    import tensorflow as tf

    index, classes = y_true["classification"], y_pred["classification"].shape[-1]
    state = tf.sign(index + 1)[..., None]
    hot = tf.one_hot(tf.cast(index, "int32"), classes)
    scores = tf.sigmoid(y_pred["classification"])
    return (
        tf.concat([y_true["box"], state, hot, state], -1),
        tf.concat([y_pred["box"], scores], -1),
    )


VARIANTS = {
    KERAS_CV: keras_cv_pair,
    "HarmonicDetLoss": lambda classes: detection_loss("HarmonicDetLoss"),
    "HarmonicDetLoss, normalized factors": lambda classes: detection_loss(
        "HarmonicDetLoss", factor_offset=0.1, normalize_factors=True, factor_gradient=False
    ),
    "DetectionLoss": lambda classes: detection_loss("DetectionLoss"),
    "HarmonicDetLoss, packed": lambda classes: detection_loss("HarmonicDetLoss"),
    "HarmonicDetLoss, keras_io_retinanet": lambda classes: detection_loss(
        "HarmonicDetLoss", layout="keras_io_retinanet"
    ),
    "HarmonicDetLoss, efficientdet": lambda classes: detection_loss(
        "HarmonicDetLoss", layout="efficientdet"
    ),
    "HarmonicDetLoss, plain autodiff": lambda classes: plain_loss(),
}
# Variants that are given something else than the contract's dictionaries.
WRITTEN = {
    "HarmonicDetLoss, packed": packed,
    "HarmonicDetLoss, keras_io_retinanet": packed,
    "HarmonicDetLoss, efficientdet": written,
}


def inputs_of(name, y_true, y_pred):
    return WRITTEN[name](y_true, y_pred) if name in WRITTEN else (y_true, y_pred)


def settled(value, gradients):
    """Waits for a step: reads its last numbers."""
    last = gradients["classification"] if isinstance(gradients, dict) else gradients
    return float(value), last[-1, -1, -1].numpy()


def train_step(name, classes):
    """Loss and gradient by the predictions, from an ordinary compiled step."""
    import tensorflow as tf

    loss = VARIANTS[name](classes)

    @tf.function
    def step(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    return step


def seconds(names, size, repetitions):
    """Medians of the wall time of a step, repetitions taking turns."""
    batch = tensors(*size)
    batches = {name: inputs_of(name, *batch) for name in names}
    steps = {name: train_step(name, size[-1]) for name in names}
    times = {name: [] for name in names}
    for repetition in range(repetitions + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            value, gradients = step(*batches[name])
            settled(value, gradients)
            if repetition:  # the first one compiles
                times[name].append(time.perf_counter() - start)
            del value, gradients
    return {name: statistics.median(values) for name, values in times.items()}


def peak_extra_bytes(name, size):
    """Highest resident size during a step less that before it."""
    batch, small = (inputs_of(name, *tensors(*s)) for s in (size, (1, 1000, size[-1])))
    train_step(name, size[-1])(*small)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the recorded peak to the present size
    before = _status("VmRSS")
    value, gradients = train_step(name, size[-1])(*batch)
    settled(value, gradients)
    return _status("VmHWM") - before


def _status(field):
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", text).group(1))


def copy_bandwidth(bytes_=2**28, repetitions=7):
    """Bytes read and written a second by a copy with a thread for each core."""
    source, target = np.ones(bytes_, "uint8"), np.ones(bytes_, "uint8")
    cores = os.cpu_count() or 1
    pairs = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    times = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(repetitions):
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(*pair), pairs))
            times.append(time.perf_counter() - start)
    return 2 * bytes_ / statistics.median(times)


def floor_bytes(batch, anchors, classes):
    """Predictions and targets read, gradients written; and what of it is the result."""
    predictions, targets = (4 * batch * anchors * width for width in (classes + 4, 5))
    return 2 * predictions + targets, predictions


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--anchors", type=int, default=76725, help="of RetinaNet at 640 px")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tenth of the anchors, 5 turns")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    if options.quick:
        options.anchors, options.repetitions = options.anchors // 10, 5
    size = (options.batch, options.anchors, options.classes)
    names = [KERAS_CV, *(name for name in options.only if name != KERAS_CV)]

    processes = multiprocessing.get_context("spawn")
    memory = {}
    for name in names:
        with processes.Pool(1) as pool:
            memory[name] = pool.apply(peak_extra_bytes, (name, size))
    with processes.Pool(1) as pool:
        time_of = pool.apply(seconds, (names, size, options.repetitions))
    moved, result = floor_bytes(*size)
    time_of["floor"], memory["floor"] = moved / copy_bandwidth(), result

    print(
        f"B={size[0]}, A={size[1]}, C={size[2]}, float32, 1 % positives, {os.cpu_count()} cores; "
        f"forward and backward, median of {options.repetitions}\n"
    )
    print("| loss | time, ms | to KerasCV | extra memory, MiB | to KerasCV |")
    print("|---|---|---|---|---|")
    for name in (*names, "floor"):
        print(
            f"| {name} | {1e3 * time_of[name]:.0f} | {time_of[name] / time_of[KERAS_CV]:.2f} "
            f"| {memory[name] / 2**20:.0f} | {memory[name] / memory[KERAS_CV]:.2f} |"
        )


if __name__ == "__main__":
    main()
