"""Pictures of plain rectangles, made here, for detectors to learn."""

import numpy as np

COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 80, 230]], "float32")


def rectangles(count=4, image_size=(160, 208), objects=3, seed=0):
    """Images `(count, H, W, 3)` and `{"boxes", "classes"}`: filled rectangles, apart, on grey."""
    rng = np.random.default_rng(seed)
    height, width = image_size
    images = np.full((count, height, width, 3), 110, "float32")
    images += rng.normal(0, 6, images.shape).astype("float32")
    boxes = np.full((count, objects + 1, 4), -1, "float32")
    classes = np.full((count, objects + 1), -1, "float32")
    for i in range(count):
        for j in range(objects):
            left = j * width // objects
            w, h = rng.integers(24, 60, 2)
            x = left + rng.integers(0, width // objects - w + 1)
            y = rng.integers(0, height - h)
            kind = rng.integers(0, 3)
            images[i, y : y + h, x : x + w] = COLOURS[kind]
            boxes[i, j], classes[i, j] = (x, y, x + w, y + h), kind
    return images, {"boxes": boxes, "classes": classes}


def average_precision(found, truth, classes=3):
    """AP over the ten IoU thresholds, in percent, by faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    def rows(boxes, labels, scores=None):
        for image, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
            for k, (box, label) in enumerate(zip(image_boxes, image_labels, strict=True)):
                if label < 0:
                    continue
                x1, y1, x2, y2 = map(float, box)
                row = {"image_id": image + 1, "category_id": int(label) + 1}
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                row["area"] = (x2 - x1) * (y2 - y1)
                yield row if scores is None else {**row, "score": float(scores[image, k])}

    ground_truth = [
        {**row, "id": i + 1, "iscrowd": 0}
        for i, row in enumerate(rows(truth["boxes"], truth["classes"]))
    ]
    coco = COCO(
        {
            "images": [{"id": i + 1} for i in range(len(truth["boxes"]))],
            "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
            "annotations": ground_truth,
        }
    )
    detections = list(rows(found["boxes"], found["classes"], found["confidence"]))
    evaluation = COCOeval_faster(coco, coco.loadRes(detections), "bbox")
    evaluation.run()
    return 100 * evaluation.stats[0]
