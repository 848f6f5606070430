"""A split of the crowded images of another: two objects of one class at an IoU of 0.2 or more.

    python benchmarks/crowd_split.py VOC2007 --split test

Reads a VOC folder, counting objects that are marked difficult, too, and writes
`ImageSets/Main/SPLIT_crowd.txt` into it, for `--eval-split test,test_crowd`.
"""

import argparse
from pathlib import Path

import numpy as np

from harmonic_tf.training.data import load_data
from harmonic_tf.training.evaluation.average_precision import box_ious


def is_crowded(objects, iou):
    """Whether two objects of one class overlap by so much."""
    for name in np.unique(objects.classes):
        low, high = np.split(objects.boxes[objects.classes == name], 2, axis=1)
        boxes = np.concatenate([low, high - low], axis=1).tolist()
        if np.triu(box_ious(boxes, boxes), 1).max() >= iou:
            return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of VOC's layout")
    parser.add_argument("--split", default="test")
    parser.add_argument("--iou", type=float, default=0.2)
    arguments = parser.parse_args()
    data = load_data(f"voc:{arguments.folder}", "eval", arguments.split)
    names = [
        Path(record.name).stem
        for record in data.records
        if is_crowded(record.objects, arguments.iou)
    ]
    file = arguments.folder / f"ImageSets/Main/{arguments.split}_crowd.txt"
    file.write_text("".join(f"{name}\n" for name in names))
    print(f"{file}: {len(names)} of {len(data)} images")


if __name__ == "__main__":
    main()
