"""AP of KerasCV's and KerasHub's RetinaNet with their own losses and with HarmonicDet, in pairs.

    python benchmarks/adapted.py --library keras_cv --data voc:BCCD --output keras_cv.json

Everything but the loss is the library's and the same for all: a RetinaNet with a small ResNet
backbone (KerasCV's P3 to P7, KerasHub's P3 to P5; 9 anchors a cell from 16 px on), its label
encoder, its decoder, AdamW with a cosine, light augmentation, the model after the last epoch. `own`
is what the library's guide compiles: focal loss, and smooth L1 (KerasCV) or Huber (KerasHub); the
others go through `harmonize`. Runs of a seed share their initial weights and batches. With
`--output` each run is written as it ends, and the command, given again, goes on with those that are
missing.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path

import keras

from harmonic_tf import harmonize
from harmonic_tf.training.comparison.statistics import paired_difference, summarize
from harmonic_tf.training.data import Augmentation, eval_batches, load_data, train_batches
from harmonic_tf.training.environment import versions
from harmonic_tf.training.evaluation.detections import coco_results, to_original
from harmonic_tf.training.evaluation.evaluator import evaluation_of, ground_truth_of
from harmonic_tf.training.files import write_json
from harmonic_tf.training.labels import Labels
from harmonic_tf.training.losses import build_loss

SIZE = (160, 192)
BATCH_SIZE = 8
EVAL_BATCH_SIZE = 9  # divides BCCD's 72 images to evaluate on
SMALLEST_ANCHOR = 16  # pixels, on the maps of stride 8
WIDTHS = [64, 64, 64, 64]
DECODING = {
    "bounding_box_format": "xyxy",
    "from_logits": True,
    "confidence_threshold": 0.05,
    "iou_threshold": 0.5,
}
OWN = "own"


def keras_cv_retinanet(num_classes):
    import keras_cv

    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=WIDTHS,
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=(*SIZE, 3),
        block_type="basic_block",
    )
    anchors = keras_cv.layers.AnchorGenerator(
        "xyxy",
        sizes=[SMALLEST_ANCHOR * 2.0**level for level in range(5)],
        scales=[2 ** (third / 3) for third in range(3)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8 * 2**level for level in range(5)],
        clip_boxes=True,
    )
    return keras_cv.models.RetinaNet(
        backbone,
        num_classes,
        "xyxy",
        anchor_generator=anchors,
        prediction_decoder=keras_cv.layers.NonMaxSuppression(**DECODING),
    )


def keras_hub_retinanet(num_classes):
    import keras_hub

    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=WIDTHS[:1],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=WIDTHS,
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(*SIZE, 3),
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        encoder, min_level=3, max_level=5, use_p5=True, image_shape=(*SIZE, 3)
    )
    anchors = keras_hub.layers.AnchorGenerator(
        "xyxy", 3, 5, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=SMALLEST_ANCHOR / 8
    )
    return keras_hub.models.RetinaNetObjectDetector(
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        anchor_generator=anchors,
        pre_logits_num_conv_layers=3,
        prediction_decoder=keras_hub.layers.NonMaxSuppression(**DECODING),
    )


#: Library -> its detector, what `harmonize` is told of it, and what its guide compiles it with.
LIBRARIES = {
    "keras_cv": (
        keras_cv_retinanet,
        {},
        {"box_loss": "smoothl1", "classification_loss": "focal"},
    ),
    # KerasHub builds the prior of the class head on the box head: moved for its own losses, too.
    "keras_hub": (keras_hub_retinanet, {"repair_prior": True}, {}),
}


def run(library, loss, seed, epochs, train_data, eval_data):
    """Trains and evaluates once; a dictionary of AP, its kinds and seconds."""
    start = time.monotonic()
    keras.utils.set_random_seed(seed)
    build, repair, own_losses = LIBRARIES[library]
    detector = build(len(train_data.class_names))
    model = harmonize(detector, **repair)
    batches = train_batches(
        train_data, SIZE, BATCH_SIZE, augmentation=Augmentation.light(), seed=seed
    )
    steps = epochs * batches.steps_per_epoch
    warmup = steps // 20
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=1e-3, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=10.0)
    if loss == OWN:
        model = detector
        model.compile(optimizer=optimizer, **own_losses)
    else:
        model.compile(optimizer=optimizer, loss=build_loss(loss, model.loss_settings))
    for epoch in range(epochs):
        samples = batches(epoch).map(lambda images, truth: (images, renamed(truth, library)))
        history = model.fit(samples, initial_epoch=epoch, epochs=epoch + 1, verbose=0).history
    metrics = evaluate(model, eval_data)
    return {"final_loss": history["loss"][-1], "seconds": time.monotonic() - start, **metrics}


def renamed(truth, library):
    """Ground truth under the names that the library wants."""
    return truth if library == "keras_cv" else {"boxes": truth["boxes"], "labels": truth["classes"]}


def evaluate(model, data):
    """COCO's AP of what a library's detector finds, in the pixels of the original images."""
    labels = Labels.of(data)
    image_ids, detections = [], []
    for batch in eval_batches(data, SIZE, EVAL_BATCH_SIZE):
        found = dict(model.predict(batch["images"], verbose=0))
        if "labels" in found:
            found["classes"] = found.pop("labels")
        placed = (batch["scale"], batch["offset"], batch["original_size"])
        ids = batch["image_id"].numpy().tolist()
        detections += coco_results(to_original(found, *placed), ids, labels.category_ids)
        image_ids += ids
    truth = ground_truth_of(data, masks=False)
    return evaluation_of(image_ids, truth, detections, labels, aic=None, mean_p=None).metrics


def report(runs, losses, seeds):
    """Prints mean and deviation of each loss, and the last one's paired differences."""

    def values(loss, metric):
        return [runs[f"{loss}-seed{seed}"][metric] for seed in seeds]

    metrics = ("AP", "AP50", "AP75", "AP80")
    print(f"| loss | {' | '.join(metrics)} |\n|---|{'---:|' * len(metrics)}")
    for loss in losses:
        cells = (summarize(values(loss, metric)) for metric in metrics)
        print(f"| {loss} | {' | '.join(f'{x.mean:.1f} ± {x.sd or 0:.1f}' for x in cells)} |")
    for reference in losses[:-1]:
        found = (
            paired_difference(values(losses[-1], metric), values(reference, metric))
            for metric in metrics
        )
        cells = (
            f"{x.mean:+.1f}"
            + (f" [{x.interval[0]:+.1f}, {x.interval[1]:+.1f}]" if x.interval else "")
            for x in found
        )
        print(f"| {losses[-1]} − {reference} | {' | '.join(cells)} |")


def main():
    options = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument("--library", choices=list(LIBRARIES), default="keras_cv")
    options.add_argument("--data", default="shapes", help="as for harmonic-tf train")
    options.add_argument("--losses", default="own,standard,constant_factors,harmonic_det")
    options.add_argument("--seeds", default="1,2,3")
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--output", type=Path, help="JSON file with all runs")
    arguments = options.parse_args()
    warnings.filterwarnings("ignore")
    losses = arguments.losses.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    train_data = load_data(arguments.data, "train")
    eval_data = load_data(arguments.data, "eval", class_names=train_data.class_names)
    about = {
        "library": arguments.library,
        "data": f"{train_data.name}: {len(train_data)} images, {len(eval_data)} to evaluate on",
        "epochs": arguments.epochs,
        "image_size": list(SIZE),
        "versions": versions(),
    }
    runs = {}
    if arguments.output and arguments.output.exists():
        kept = json.loads(arguments.output.read_text(encoding="utf-8"))
        if kept["about"] != about:
            options.error(f"{arguments.output} holds runs of something else: {kept['about']}")
        runs = kept["runs"]
    for seed, loss in itertools.product(seeds, losses):
        name = f"{loss}-seed{seed}"
        if name in runs:
            continue
        found = run(arguments.library, loss, seed, arguments.epochs, train_data, eval_data)
        keras.backend.clear_session()
        runs[name] = found
        print(f"{name}: AP {found['AP']:.1f}, {found['seconds']:.0f} s", flush=True)
        if arguments.output:
            write_json(arguments.output, {"about": about, "runs": runs})
    report(runs, losses, seeds)


if __name__ == "__main__":
    main()
