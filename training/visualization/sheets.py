"""Sheets of images: those of a data set, and those that a detector was evaluated on."""

import io
from pathlib import Path

import numpy as np

from harmonic_tf.training.data.dataset import Objects, Sample
from harmonic_tf.training.data.display import Display
from harmonic_tf.training.data.headers import try_header
from harmonic_tf.training.data.images import blank
from harmonic_tf.training.data.images import decode as decode_image
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.files import write_bytes
from harmonic_tf.training.rle import as_rle, decode
from harmonic_tf.training.visualization.drawing import DISPLAY_THRESHOLD, draw_boxes, grid


def save_contact_sheet(data, path, count=16) -> Path:
    """Draws images spread over a data set, with their boxes, masks and class names.

    Args:
        data: DetectionData.
        path: str or Path. PNG file to write.
        count: int. Number of images. Defaults to `16`.

    Returns:
        Path. The file written.
    """
    chosen = np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int)
    records = [data.records[index] for index in chosen]
    captions = [f"{r.name}   {len(r.objects)} object{'s' * (len(r.objects) != 1)}" for r in records]
    return _save(grid([_draw_objects(r, data) for r in records], captions=captions), path)


def save_problem_sheet(data, path, count=16) -> Path | None:
    """Draws the images of problems, those of the rarest kinds first, with what was left out.

    Args:
        data: DetectionData.
        path: str or Path. PNG file to write.
        count: int. Number of images. Defaults to `16`.

    Returns:
        Path. The file written; None if no problem is of an image that can be drawn.
    """
    frequency = data.problem_counts()
    ordered = sorted(data.problems, key=lambda problem: frequency[problem.kind])
    records = {record.encoded: record for record in data.records}
    drawn, captions = [], []
    for problem in ordered:
        if len(drawn) == count:
            break
        record = records.get(problem.image) or _left_out(problem.image)
        if record is not None:
            drawn.append(_draw_objects(record, data))
            captions.append(f"{problem.kind}\n{record.name}, {problem.object}")
    return _save(grid(drawn, captions=captions), path) if drawn else None


def save_detection_sheet(
    evaluation, data, path, count=12, score_threshold=DISPLAY_THRESHOLD
) -> Path:
    """Draws what was found in the first images, over the dashed outlines of what is there.

    Args:
        evaluation: Evaluation. Of `data`.
        data: DetectionData.
        path: str or Path. PNG file to write.
        count: int. Number of images. Defaults to `12`.
        score_threshold: float. Detections with a lower score are not drawn. Defaults to `0.4`.

    Returns:
        Path. The file written.
    """
    images = [
        _draw_found(record, evaluation, data, score_threshold) for record in data.records[:count]
    ]
    return _save(grid(images), path)


def _left_out(image: Path | None) -> Sample | None:
    """An image that is not in the data, without objects; None if it cannot be read."""
    header = None if image is None else try_header(image)
    if header is None or isinstance(header, Unusable):
        return None
    return Sample.of(image.name, 0, header, image, Objects.of([]))


def _draw_objects(record, data):
    objects, size = record.objects, (record.height, record.width)
    shown, nothing = Display(*size), np.zeros(size, bool)
    masks = [decode(as_rle(mask, size)) if mask else nothing for mask in objects.segmentations]
    return draw_boxes(
        shown.image(_image_of(record)),
        shown.boxes(objects.boxes),
        objects.classes,
        data.class_names,
        masks=[shown.mask(mask > 0) for mask in masks],
    )


def _draw_found(record, evaluation, data, score_threshold):
    found = [
        item
        for item in evaluation.detections
        if item["image_id"] == record.image_id and item["score"] >= score_threshold
    ]
    has_masks = any("segmentation" in item for item in found)
    corners = np.array([item["bbox"] for item in found], float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    shown = Display(record.height, record.width)
    return draw_boxes(
        shown.image(_image_of(record)),
        shown.boxes(corners),
        [data.category_ids.index(item["category_id"]) for item in found],
        data.class_names,
        [item["score"] for item in found],
        shown.boxes(record.objects.boxes),
        [shown.mask(decode(item["segmentation"]) > 0) for item in found] if has_masks else None,
    )


def _image_of(record):
    """A record's image as a viewer shows it; grey if it cannot be read any more."""
    try:
        return decode_image(record.stored())
    except Exception:  # Whatever it is, a sheet shows the other images.
        return decode_image(blank(record.height, record.width))


def _save(sheet, path):
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return write_bytes(path, content.getvalue())
