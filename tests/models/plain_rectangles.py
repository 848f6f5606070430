"""Images of plain rectangles, made here, for detectors to learn."""

import numpy as np
import tensorflow as tf

from harmonic_tf.training.evaluation.masks import paste
from harmonic_tf.training.rle import encode

CELLS = 56
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 80, 230]], "float32")


def rectangles(count=4, image_size=(160, 208), objects=3, seed=0):
    """Images `(count, H, W, 3)` and `{"boxes", "classes", "masks"}`.

    Rectangles, apart, on grey; the upper right quarter of each is missing.
    """
    rng = np.random.default_rng(seed)
    height, width = image_size
    images = np.full((count, height, width, 3), 110, "float32")
    images += rng.normal(0, 6, images.shape).astype("float32")
    targets = no_objects(count, objects + 1)
    boxes, classes, masks = (targets[key] for key in ("boxes", "classes", "masks"))
    masks[:, :objects] = 1.0
    masks[:, :objects, : CELLS // 2, CELLS // 2 :] = 0.0
    for i in range(count):
        for j in range(objects):
            left = j * width // objects
            w, h = rng.integers(24, 60, 2)
            x = left + rng.integers(0, width // objects - w + 1)
            y = rng.integers(0, height - h)
            kind = rng.integers(0, 3)
            images[i, y + h // 2 : y + h, x : x + w] = COLOURS[kind]
            images[i, y : y + h // 2, x : x + w // 2] = COLOURS[kind]
            boxes[i, j], classes[i, j] = (x, y, x + w, y + h), kind
    return images, targets


def no_objects(count, room):
    """Ground truth of images without objects, with room for some."""
    return {
        "boxes": np.full((count, room, 4), -1, "float32"),
        "classes": np.full((count, room), -1, "float32"),
        "masks": np.zeros((count, room, CELLS, CELLS), "float32"),
    }


def batches(batch, repeat=1):
    """A data set of one batch, without tuning: its end could wait for the tuner's next turn."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors(batch).repeat(repeat).with_options(options)


def average_precision(found, truth, classes=3, masks=False):
    """AP of boxes or masks over the ten IoU thresholds, in percent, by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    def rows(values):
        for image, labels in enumerate(values["classes"]):
            for k, label in enumerate(labels):
                if label < 0:
                    continue
                x1, y1, x2, y2 = map(float, values["boxes"][image, k])
                row = {"image_id": image + 1, "category_id": int(label) + 1}
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                row["area"] = (x2 - x1) * (y2 - y1)
                if masks:
                    pasted = paste(values["masks"][image, k], (x1, y1, x2, y2), (160, 208))
                    row["segmentation"] = encode(pasted)
                if "confidence" in values:
                    row["score"] = float(values["confidence"][image, k])
                yield row

    ground_truth = [{**row, "id": i + 1, "iscrowd": 0} for i, row in enumerate(rows(truth))]
    coco = COCO(
        {
            "images": [
                {"id": i + 1, "height": 160, "width": 208} for i in range(len(truth["boxes"]))
            ],
            "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
            "annotations": ground_truth,
        }
    )
    kind = "segm" if masks else "bbox"
    evaluation = COCOeval_faster(coco, coco.loadRes(list(rows(found))), kind)
    evaluation.run()
    return 100 * evaluation.stats[0]
