"""A sheet of evaluation pictures with what a detector found in them."""

import io

import numpy as np
from PIL import Image

from harmonic_tf.training.drawing import draw_boxes, grid
from harmonic_tf.training.files import write_bytes
from harmonic_tf.training.masks import decode
from harmonic_tf.training.predict import DISPLAY_THRESHOLD


def save_sheet(evaluation, data, path, count=12, score_threshold=DISPLAY_THRESHOLD):
    """Draws what was found in the first pictures, over the dashed outlines of what is there.

    Args:
        evaluation: Evaluation. Of `data`.
        data: DetectionData.
        path: str or Path. PNG file to write.
        count: int. Number of pictures. Defaults to `12`.
        score_threshold: float. Detections with a lower score are not drawn. Defaults to `0.4`.

    Returns:
        Path. The file written.
    """
    pictures = [_draw(record, evaluation, data, score_threshold) for record in data.records[:count]]
    content = io.BytesIO()
    grid(pictures).save(content, format="PNG")
    return write_bytes(path, content.getvalue())


def _draw(record, evaluation, data, score_threshold):
    found = [
        item
        for item in evaluation.detections
        if item["image_id"] == record.image_id and item["score"] >= score_threshold
    ]
    has_masks = any("segmentation" in item for item in found)
    corners = np.array([item["bbox"] for item in found], float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return draw_boxes(
        np.asarray(Image.open(io.BytesIO(record.read())).convert("RGB")),
        corners,
        [data.category_ids.index(item["category_id"]) for item in found],
        data.class_names,
        [item["score"] for item in found],
        record.objects.boxes,
        [decode(item["segmentation"]) for item in found] if has_masks else None,
    )
