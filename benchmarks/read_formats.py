"""Seconds to read the annotations of one set in each form, beside pycocotools' for COCO's.

    python benchmarks/read_formats.py [--images 5000]

The set is drawn and written in all forms. `load_data` also decodes every image once; what it found
is remembered, so that the second reading shows what annotations alone cost. CPU seconds are the
fairer measure where the cores are shared.
"""

import argparse
import base64
import csv
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from rich.console import Console
from rich.table import Table

from harmonic_tf.training.data import load_data
from harmonic_tf.training.data.convert import WRITERS, convert

SIZE = (104, 80)


def write_labelme(data, root: Path) -> str:
    for sample in data.records:
        shapes = [
            {"label": label, "points": [box[:2], box[2:]], "shape_type": "rectangle"}
            for label, box in objects(data, sample)
        ]
        size = {"imageHeight": sample.height, "imageWidth": sample.width}
        image = base64.b64encode(sample.stored()).decode()
        content = {"shapes": shapes, "imagePath": sample.name, "imageData": image, **size}
        (root / sample.name).with_suffix(".json").write_text(json.dumps(content))
    return f"labelme:{root}"


def write_csv(data, root: Path) -> str:
    with (root / "annotations.csv").open("w", newline="") as file:
        for sample in data.records:
            (root / sample.name).write_bytes(sample.stored())
            rows = [[sample.name, *box, label] for label, box in objects(data, sample)]
            csv.writer(file).writerows(rows or [[sample.name, "", "", "", "", ""]])
    return f"csv:{root}/annotations.csv"


def write_tfrecord(data, root: Path) -> str:
    def feature(kind, name, values):
        return tf.train.Feature(**{name: kind(value=values)})

    with tf.io.TFRecordWriter(str(root / "train.tfrecord")) as writer:
        for sample in data.records:
            found = objects(data, sample)
            texts = {
                "image/encoded": [sample.stored()],
                "image/filename": [sample.name.encode()],
                "image/object/class/text": [label.encode() for label, _ in found],
            }
            features = {
                name: feature(tf.train.BytesList, "bytes_list", v) for name, v in texts.items()
            }
            for place, corner in enumerate(("xmin", "ymin", "xmax", "ymax")):
                values = [box[place] / SIZE[place % 2] for _, box in found]
                features[f"image/object/bbox/{corner}"] = feature(
                    tf.train.FloatList, "float_list", values
                )
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return f"tfrecord:{root}"


def objects(data, sample) -> list:
    columns = zip(sample.objects.classes, sample.objects.boxes.tolist(), strict=True)
    return [(data.class_names[index], box) for index, box in columns]


def seconds(function) -> str:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return f"{time.perf_counter() - wall:.1f} ({time.process_time() - cpu:.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    images = parser.parse_args().images
    drawn = f"shapes:train={images},val=1,size={SIZE[0]}x{SIZE[1]}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        specs = {form: f"{form}:{root}/{form}" for form in WRITERS}
        for form in WRITERS:
            convert(drawn, form, root / form)
        data = load_data(drawn)
        for write in (write_labelme, write_csv, write_tfrecord):
            name = write.__name__.removeprefix("write_")
            (root / name).mkdir()
            specs[name] = write(data, root / name)
        table = Table("format", "first reading, s (CPU)", "second", title=f"{images} images")
        for name, spec in specs.items():
            os.environ["XDG_CACHE_HOME"] = str(root / f"cache_{name}")
            table.add_row(name, *(seconds(lambda s=spec: load_data(s)) for _ in range(2)))
        try:
            from pycocotools.coco import COCO
        except ImportError:
            from faster_coco_eval import COCO
        file = root / "coco/annotations/instances_train.json"
        table.add_row(f"{COCO.__module__}, COCO's JSON", "", seconds(lambda: COCO(str(file))))
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
