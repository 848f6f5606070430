"""Time of a training step: ours with its losses, beside KerasCV's detectors and KerasHub's.

    python benchmarks/train_step.py [--quick] [--group NAME ...] [--repetitions 15]

A step is what `fit` does with a batch: forward, loss, backward, update (SGD) and metrics, in
Keras's ordinary (not jitted) `tf.function`; the batch lies in memory. The groups:

- `ssd_tiny`: the preset at its own size, ours alone;
- `lite`: the presets on EfficientNet-Lite0, as they start from ImageNet: with batch normalisation
  as it is; and `ssd_lite` with more of its backbone frozen;
- `resnet18`: RetinaNet on KerasCV's ResNet-18;
- `resnet50`: RetinaNet on the backbone of `retinanet_resnet50_fpn`;
- `anchor_free`: FCOS and FSAF beside RetinaNet, each the preset on that backbone, and how much
  memory a process needs that takes two steps of one of them (on Linux and macOS);
- `faster_rcnn`: Faster R-CNN on the same backbone.

The RetinaNets of a group are the same network, with KerasCV's defaults for pyramid, heads (the
preset's own have one convolution more) and anchors. Ours is trained with `HarmonicDetLoss` and with
the standard `DetectionLoss`, the others with their own losses of boxes and classes. Repetitions
take turns, and ratios are medians of the ratios within a turn.

The Faster R-CNN that trains on Keras 3 is the one of `keras-cv-nightly`, which needs an environment
of its own, for it is imported by the same name as `keras-cv`; without it ours is timed alone. Both
have 256 channels in the pyramid P2 to P6, 3 anchors a cell (of 32 to 512 pixels), 2000 proposals of
a level before NMS and 1000 of an image after it, 256 anchors and 512 regions to learn from, two
layers of 1024 units and one box a region.
"""

import multiprocessing
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_cv
import numpy as np
import side_by_side
from side_by_side import BACKBONES, KERAS_CV, KERAS_CV_NIGHTLY, KERAS_HUB, OURS

from harmonic_tf import losses, models

HARMONIC, STANDARD = f"{OURS}, HarmonicDetLoss", f"{OURS}, DetectionLoss"
GROUPS = ("ssd_tiny", "lite", *BACKBONES, "anchor_free", "faster_rcnn")
RETINANET = "retinanet_resnet50_fpn"
ANCHOR_FREE = (RETINANET, "fcos_resnet50_fpn", "fsaf_resnet50_fpn")
LITE = [(preset, None) for preset in models.PRESETS if preset.endswith("_lite")]
LITE += [("ssd_lite", level) for level in ("stem", "P2", "P3", "P4", "all")]


def batch(size, image_size, classes, objects=4, padding=4, seed=0):
    """Images `(B, H, W, 3)` of noise, and `objects` boxes in each, padded with -1."""
    rng = np.random.default_rng(seed)
    height, width = image_size
    corner = rng.uniform(0.05, 0.5, (size, objects, 2))
    extent = rng.uniform(0.1, 0.45, (size, objects, 2))
    boxes = np.concatenate([corner, corner + extent], axis=-1) * [width, height, width, height]
    index = rng.integers(0, classes, (size, objects))
    targets = {
        "boxes": np.pad(boxes, ((0, 0), (0, padding), (0, 0)), constant_values=-1),
        "classes": np.pad(index, ((0, 0), (0, padding)), constant_values=-1),
    }
    images = rng.uniform(0, 255, (size, height, width, 3))
    return keras.tree.map_structure(
        lambda x: keras.ops.convert_to_tensor(x, "float32"), (images, targets)
    )


def train_step(model, images, targets, **losses):
    """A function that does one step and waits for its result."""
    optimizer = keras.optimizers.SGD(1e-4, momentum=0.9)
    model.compile(optimizer=optimizer, jit_compile=False, **losses)
    model.make_train_function()
    return lambda: float(model.train_function([(images, targets)])["loss"])


def ssd_steps(options):
    """Steps of `ssd_tiny`, and its (height, width)."""
    steps = {}
    for name, loss in ((HARMONIC, losses.HarmonicDetLoss), (STANDARD, losses.DetectionLoss)):
        keras.utils.set_random_seed(0)
        model = models.from_preset("ssd_tiny", num_classes=options.classes)
        data = batch(options.batch, model.image_size, options.classes)
        steps[name] = train_step(model, *data, loss=loss(**model.loss_settings))
    return steps, model.image_size


def lite_steps(options):
    """Steps of the presets on EfficientNet-Lite0, and their (height, width)."""
    steps = {}
    for preset, level in LITE:
        keras.utils.set_random_seed(0)
        model = models.from_preset(
            preset, num_classes=options.classes, freeze_batch_norm=True, frozen_level=level
        )
        images, targets = batch(options.batch, model.image_size, options.classes)
        if model.has_masks:
            targets["masks"] = keras.ops.ones((*targets["classes"].shape, 56, 56))
        name = f"{preset}, {model.count_params() / 1e6:.1f} M parameters"
        name += f", frozen: {level}" if level else ""
        steps[name] = train_step(model, images, targets, loss=losses.HarmonicDetLoss())
    return steps, model.image_size


def retinanet_steps(backbone, options):
    """Steps of the RetinaNets on one backbone, and their (height, width)."""
    image_size = (options.size, options.size)
    images, targets = batch(options.batch, image_size, options.classes)

    def step(library, y=targets, **losses):
        model = side_by_side.retinanet(library, backbone, options.size, options.classes)
        return train_step(model, images, y, **losses)

    steps = {
        HARMONIC: step(OURS, loss=losses.HarmonicDetLoss(classification="focal")),
        STANDARD: step(OURS, loss=losses.DetectionLoss(classification="focal")),
        KERAS_CV: step(KERAS_CV, box_loss="smoothl1", classification_loss="focal"),
    }
    if KERAS_HUB in options.libraries:
        labels = {"boxes": targets["boxes"], "labels": targets["classes"]}
        steps[KERAS_HUB] = step(KERAS_HUB, labels, box_loss="auto", classification_loss="auto")
    return steps, image_size


def anchor_free_step(preset, batch_size, size, classes):
    """A step of a preset of `ANCHOR_FREE`."""
    keras.utils.set_random_seed(0)
    model = models.from_preset(preset, num_classes=classes, image_size=(size, size))
    loss = losses.HarmonicDetLoss(**model.loss_settings)
    return train_step(model, *batch(batch_size, model.image_size, classes), loss=loss)


def anchor_free_steps(options):
    """Steps of RetinaNet, FCOS and FSAF, their (height, width); prints the memory of each."""
    sizes = (options.batch, options.size, options.classes)
    for preset in ANCHOR_FREE:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"{preset}: {pool.apply(peak_memory, (preset, *sizes)):.2f} GB", flush=True)
    steps = {preset: anchor_free_step(preset, *sizes) for preset in ANCHOR_FREE}
    return steps, (options.size, options.size)


def peak_memory(preset, *sizes):
    """The most memory, in GB, that this process has had after two steps of a preset."""
    import resource  # which Windows has not

    step = anchor_free_step(preset, *sizes)
    step(), step()
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def faster_rcnn_steps(options):
    """Steps of Faster R-CNN on ResNet-50, and their (height, width)."""
    image_size = (options.size, options.size)
    data = batch(options.batch, image_size, options.classes)

    def step(detector, losses, **settings):
        keras.utils.set_random_seed(0)
        backbone = BACKBONES["resnet50"](options.size)
        settings = {"bounding_box_format": "xyxy", **settings}
        model = detector(backbone=backbone, num_classes=options.classes, **settings)
        return train_step(model, *data, **losses)

    def ours(loss):
        return step(models.FasterRCNN, {"loss": loss("softmax")}, class_agnostic=True)

    steps = {HARMONIC: ours(losses.HarmonicDetLoss), STANDARD: ours(losses.DetectionLoss)}
    if KERAS_CV_NIGHTLY in options.libraries:
        steps[KERAS_CV_NIGHTLY] = step(
            keras_cv.models.FasterRCNN,
            {
                "rpn_box_loss": "smoothl1",
                "rpn_classification_loss": "binarycrossentropy",
                "box_loss": "smoothl1",
                "classification_loss": "categoricalcrossentropy",
            },
        )
    else:
        print(
            f"KerasCV's Faster R-CNN is left out: that of {keras_cv.__version__} does not train on "
            "Keras 3. Have `pip install keras-cv-nightly==0.10.0.dev2024100303` in an environment "
            "of its own."
        )
    return steps, image_size


def main():
    parser = side_by_side.parser(__doc__, repetitions=15)
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=list(GROUPS))
    options = side_by_side.parse(parser)
    for group in options.group:
        if group == "ssd_tiny":
            steps, (height, width) = ssd_steps(options)
        elif group == "lite":
            steps, (height, width) = lite_steps(options)
        elif group == "anchor_free":
            steps, (height, width) = anchor_free_steps(options)
        elif group == "faster_rcnn":
            steps, (height, width) = faster_rcnn_steps(options)
        else:
            steps, (height, width) = retinanet_steps(group, options)
        turns = side_by_side.take_turns(steps, options.repetitions)
        heading = f"{group}, {height} x {width} px"
        bases = (KERAS_CV, KERAS_CV_NIGHTLY, STANDARD, RETINANET)
        print("", side_by_side.table(heading, turns, bases), sep="\n", flush=True)


if __name__ == "__main__":
    main()
