"""Images a second of the training input pipeline, beside decoding and resizing alone.

    python benchmarks/input_pipeline.py [--data voc:DIR] [--image-size 160 208] [--repetitions 7]
                                        [--training]

Every variant reads the same files; repetitions take turns, so that whatever else the machine does
meets all variants alike. The floor is to read, decode and resize (bilinear) in the same parallel
`tf.data` form, without boxes. Under "cache", images are kept at the network's size. Images a second
are medians; CPU time an image, the least of all repetitions, is the fairer measure where the cores
are shared.

With --training, epochs of training take turns instead: of all of `ssd_tiny` on `efficientnet_lite0`
(random weights take the same time), of that with its backbone frozen, and on features that are kept
(`--cache-features`).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.table import Table

from harmonic_tf import models
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models.backbones import freeze
from harmonic_tf.models.heads import head_network
from harmonic_tf.training.data import Augmentation, eval_batches, load_data, train_batches
from harmonic_tf.training.data.formats.shapes import ShapesOptions, draw
from harmonic_tf.training.data.resized import resized_data
from harmonic_tf.training.features import FeatureBatches, kept_features
from harmonic_tf.training.loop import make_train_step


def write_voc_folder(root: Path, pictures: int) -> None:
    """Writes drawn images as a VOC folder of JPEG files of 640 x 480 px."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    options = ShapesOptions(size=(640, 480))
    names = [f"{index:06d}" for index in range(pictures)]
    for index, name in enumerate(names):
        picture, objects = draw(options, "train", index)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
        tree = ElementTree.Element("annotation")
        for x1, y1, x2, y2 in objects.boxes:
            node = ElementTree.SubElement(tree, "object")
            ElementTree.SubElement(node, "name").text = "object"
            box = ElementTree.SubElement(node, "bndbox")
            corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
            for key, value in corners.items():
                ElementTree.SubElement(box, key).text = f"{value:.0f}"
        ElementTree.ElementTree(tree).write(root / "Annotations" / f"{name}.xml")
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(names))


def decode_and_resize(data, image_size, batch_size: int, antialias: bool) -> tf.data.Dataset:
    """What any pipeline must do: read, decode, resize, batch."""
    paths = [str(record.encoded) for record in data.records]

    def load(path):
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(picture, image_size, antialias=antialias)

    parallel = max(2, os.cpu_count() or 1)
    dataset = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=parallel)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def variants(data, image_size, batch_size: int, resize: str) -> dict:
    """Name -> function of the repetition's number, returning one epoch."""
    floor = decode_and_resize(data, image_size, batch_size, antialias=False)
    smooth = decode_and_resize(data, image_size, batch_size, antialias=True)
    evaluation = eval_batches(data, image_size, batch_size, resize)
    epochs = {
        "decode, resize (floor)": lambda _: floor,
        "same, antialiased": lambda _: smooth,
        "eval_batches": lambda _: evaluation,
    }
    kept = {
        f", cache {place}": resized_data(data, image_size, resize, place)
        for place in ("memory", "disk")
    }
    for name in ("none", "light", "light_mosaic", "ssd"):
        augmentation = getattr(Augmentation, name)()
        for where, images in {"": data, **kept}.items():
            epochs[f"train_batches, {name}{where}"] = train_batches(
                images, image_size, batch_size, resize, augmentation
            )
    return epochs


def trainings(data, image_size, batch_size: int, resize: str) -> dict:
    """Name -> function of the repetition's number, returning one epoch, trained on as it goes."""
    light = Augmentation.light()
    epochs = {}
    for name in ("all of it", "frozen backbone", "features"):
        model = models.from_preset(
            "ssd_tiny",
            num_classes=len(data.class_names),
            backbone="efficientnet_lite0",
            freeze_batch_norm=True,
            image_size=image_size,
            resize=resize,
        )
        if name != "all of it":
            freeze(model.backbone, "all")
        model.compile("adamw", loss=HarmonicDetLoss())
        on_features = name == "features"
        if on_features:
            started = time.process_time()
            batches = FeatureBatches(kept_features(data, model, light, 1, "disk"), batch_size, 1)
            cost = 1000 * (time.process_time() - started) / len(data)
            print(f"made once, for each augmentation: {cost:.1f} CPU ms/image")
        else:
            batches = train_batches(data, image_size, batch_size, resize, light)
        network = head_network(model) if on_features else None
        step = make_train_step(model, 10.0, tf.distribute.get_strategy(), network)
        epochs[name] = lambda number, batches=batches, step=step: map(step, batches(number))
    return epochs


class Turn(NamedTuple):
    """One epoch's cost, in seconds an image."""

    wall: float
    cpu: float


def drain(epoch: Iterable, batch_size: int) -> Turn:
    """Runs through one epoch."""
    wall, cpu = time.perf_counter(), time.process_time()
    images = batch_size * sum(1 for _ in epoch)
    return Turn((time.perf_counter() - wall) / images, (time.process_time() - cpu) / images)


def measure(epochs: dict, batch_size: int, repetitions: int) -> dict[str, list[Turn]]:
    """The turns of each variant, after one that is not counted."""
    turns: dict[str, list[Turn]] = {name: [] for name in epochs}
    for repetition in range(repetitions + 1):
        for name, epoch in epochs.items():
            turn = drain(epoch(repetition), batch_size)
            if repetition:
                turns[name].append(turn)
    return turns


def report(turns: dict[str, list[Turn]], title: str) -> Table:
    """The table; ratios of wall time are medians of the ratios within a repetition."""
    table = Table("pipeline", title=title, title_justify="left")
    for heading in ("images/s", "wall / first", "CPU ms/image", "CPU / first"):
        table.add_column(heading, justify="right")
    first = next(iter(turns.values()))
    least = min(turn.cpu for turn in first)
    for name, own in turns.items():
        ratio = statistics.median(t.wall / f.wall for t, f in zip(own, first, strict=True))
        cpu = min(turn.cpu for turn in own)
        table.add_row(
            name,
            f"{1 / statistics.median(turn.wall for turn in own):.0f}",
            f"{ratio:.2f}",
            f"{1000 * cpu:.2f}",
            f"{cpu / least:.2f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="voc:DIR or coco:DIR; default: drawn JPEG files")
    parser.add_argument("--images", type=int, default=200, help="of the drawn files")
    parser.add_argument("--image-size", type=int, nargs=2, default=(160, 208), metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--resize", choices=("stretch", "letterbox"), default="stretch")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--training", action="store_true", help="epochs of training")
    arguments = parser.parse_args()
    image_size = tuple(arguments.image_size)
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.data:
            write_voc_folder(Path(folder), arguments.images)
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        data = load_data(arguments.data or f"voc:{folder}")
        compared = trainings if arguments.training else variants
        epochs = compared(data, image_size, arguments.batch_size, arguments.resize)
        turns = measure(epochs, arguments.batch_size, arguments.repetitions)
    name = data.name if arguments.data else "shapes as JPEG"
    title = (
        f"{len(data)} images ({name}) to {image_size[0]} x {image_size[1]}, {arguments.resize}, "
        f"{os.cpu_count()} cores, TensorFlow {tf.__version__}"
    )
    Console().print(report(turns, title))


if __name__ == "__main__":
    main()
