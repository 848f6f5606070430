"""Seconds and memory to read one large COCO file: at first, with images decoded once, and again.

    python benchmarks/read_large_coco.py [--images 100000]

The file and its images, small JPEGs of 80 x 60 px that differ, are written by this script, with
seven objects an image, each with a polygon. Every reading is a process of its own.
"""

import argparse
import io
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

OBJECTS, CLASSES, SIZE = 7, 80, (80, 60)


def write(root: Path, count: int):
    random = np.random.default_rng(0)
    (root / "annotations").mkdir()
    (root / "images").mkdir()
    pixels = random.integers(0, 256, (SIZE[1] // 10, SIZE[0] // 10, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize(SIZE).save(encoded, "JPEG")
    images, annotations = [], []
    for number in range(1, count + 1):
        name = f"{number:06d}.jpg"
        # What stands behind a JPEG's end is not decoded, and makes its bytes its own.
        (root / "images" / name).write_bytes(encoded.getvalue() + name.encode())
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        for x, y in (random.random((OBJECTS, 2)) * (50, 40)).tolist():
            outline = [x, y, x + 20, y, x + 20, y + 15, x, y + 15, x + 10, y + 3]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": len(annotations) % CLASSES + 1,
                    "bbox": [x, y, 20, 15],
                    "area": 300,
                    "iscrowd": 0,
                    "segmentation": [outline],
                }
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n + 1, "name": f"class {n}"} for n in range(CLASSES)],
    }
    with (root / "annotations" / "instances_train.json").open("w") as file:
        json.dump(content, file)


def read(root: str, reading: str):
    import resource

    import tensorflow  # noqa: F401  (its import is no part of reading)

    from harmonic_tf.training.data import load_data

    started, cpu = time.perf_counter(), time.process_time()
    data = load_data(f"coco:{root}", split="train")
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    objects = sum(len(record.objects) for record in data.records)
    print(
        f"{reading}: {len(data)} images, {objects} objects, {len(data.problems)} problems: "
        f"{wall:.1f} s ({cpu:.1f} of the processor's), at most {memory:.2f} GB in memory"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, parser.parse_args().images)
        megabytes = (root / "annotations" / "instances_train.json").stat().st_size / 1e6
        print(f"a JSON file of {megabytes:.0f} MB")
        os.environ |= {"XDG_CACHE_HOME": str(root / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        for reading in ("at first", "again"):
            process = multiprocessing.get_context("spawn").Process(
                target=read, args=(folder, reading)
            )
            process.start()
            process.join()


if __name__ == "__main__":
    main()
