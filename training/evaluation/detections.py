"""From what a detector decodes in network pixels to results in the image's own pixels."""

import numpy as np
import tensorflow as tf

from harmonic_tf.masks import resample
from harmonic_tf.training.evaluation.masks import paste
from harmonic_tf.training.rle import encode


def check_detector(model) -> None:
    """Sees that a detector fits pipelines that bring images to one size, with xyxy boxes.

    Args:
        model: detector of harmonic_tf.models.

    Raises:
        ValueError: If it was built for images of any size, or for another format of boxes.
    """
    if None in model.image_size:
        raise ValueError(
            f"expected a model for one size of images; received image_size={model.image_size}"
        )
    if model.bounding_box_format != "xyxy":
        raise ValueError(
            "expected a model with bounding_box_format='xyxy'; "
            f"received {model.bounding_box_format!r}"
        )


def detect(model, images, scale, offset, size):
    """What a detector finds in images that were brought to its input size; safe inside a graph.

    Args:
        model: detector of harmonic_tf.models.
        images: float tensor (B, H, W, 3). Network inputs, 0 to 255.
        scale, offset, size: as for `to_original`.

    Returns:
        Dict of tensors. As `to_original` returns it.
    """
    raw = model(images, training=False)
    return to_original(model.decode_predictions(raw, images), scale, offset, size)


def to_original(decoded, scale, offset, size):
    """Brings decoded predictions back to the original images; safe inside a graph.

    Args:
        decoded: dict. KerasCV's form, in pixels of the network input: `boxes` (B, D, 4) xyxy,
            `confidence` (B, D), `classes` (B, D), `num_detections` (B,); the valid rows first. If
            the detector finds masks, `masks` (B, D, S, S), too, in the frames of the boxes.
        scale: float tensor (B, 2). Network pixels an original pixel, (y, x).
        offset: float tensor (B, 2). Where the image begins in the network input, (y, x) pixels.
        size: tensor (B, 2). Original (height, width) in pixels.

    Returns:
        Dict of `boxes` (B, D, 4) float32 xyxy in original pixels, clipped to the image, `scores`
        (B, D) float32, `classes` (B, D) int32, `num_detections` (B,) int32, and `masks` if there
        are any, (B, D, S, S) float32 in the frames of the clipped boxes. Rows from
        `num_detections` on hold -1.
    """
    yxyx = _swapped(decoded["boxes"])
    scale, offset, size = (
        tf.tile(tf.cast(value, tf.float32), (1, 2))[:, None] for value in (scale, offset, size)
    )
    yxyx = (yxyx - offset) / scale
    boxes = _swapped(tf.clip_by_value(yxyx, 0.0, size))
    count = tf.cast(decoded["num_detections"], tf.int32)
    valid = tf.range(tf.shape(boxes)[1])[None] < count[:, None]
    found = {
        "boxes": tf.where(valid[..., None], boxes, -1.0),
        "scores": tf.where(valid, tf.cast(decoded["confidence"], tf.float32), -1.0),
        "classes": tf.where(valid, tf.cast(decoded["classes"], tf.int32), -1),
        "num_detections": count,
    }
    if "masks" in decoded:
        masks = tf.cast(decoded["masks"], tf.float32)
        masks = resample(masks, _swapped(yxyx), boxes, masks.shape[-1])
        found["masks"] = tf.where(valid[..., None, None], masks, -1.0)
    return found


def _swapped(boxes):
    """x before y, or the other way round."""
    return tf.stack([boxes[..., i] for i in (1, 0, 3, 2)], axis=-1)


def coco_results(found, image_ids, category_ids, sizes=None):
    """The COCO result form of restored detections.

    Args:
        found: dict of arrays. As `to_original` returns it.
        image_ids: sequence of int, at most B. Rows beyond it are padding and are left out.
        category_ids: sequence of int. Class index -> id.
        sizes: sequence of (height, width), the images' in original pixels. Only needed where
            `found` has masks. Defaults to `None`.

    Returns:
        List of dict: `image_id`, `category_id`, `bbox` (x, y, width, height; original pixels),
        `score`, and if there are masks `segmentation`, compressed RLE. A box with nothing inside
        the image, or with a score of NaN, is left out.
    """
    if not len(image_ids):
        return []
    boxes = np.asarray(found["boxes"], np.float64)
    xywh = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
    scores, classes, counts = (
        np.asarray(found[key]).tolist() for key in ("scores", "classes", "num_detections")
    )
    masks = np.asarray(found["masks"]) if "masks" in found else None
    results = []
    for row, image_id in enumerate(image_ids):
        for index, box in enumerate(xywh[row, : counts[row]].tolist()):
            if box[2] <= 0 or box[3] <= 0 or not scores[row][index] >= 0:
                continue
            result = {
                "image_id": int(image_id),
                "category_id": int(category_ids[classes[row][index]]),
                "bbox": box,
                "score": scores[row][index],
            }
            if masks is not None:
                pasted = paste(masks[row, index], boxes[row, index], sizes[row])
                result["segmentation"] = encode(pasted)
            results.append(result)
    return results
