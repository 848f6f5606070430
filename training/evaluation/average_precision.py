"""The COCO protocol on plain lists: average precision of detections against ground truth."""

import logging

import numpy as np

IOU_THRESHOLDS = (50, 60, 70, 75, 80, 90)
AREAS = ("small", "medium", "large")
OVER_THRESHOLDS = ("AP", *(f"AP{t}" for t in IOU_THRESHOLDS))
METRICS = (*OVER_THRESHOLDS, *(f"AP_{area}" for area in AREAS))
MAX_DETECTIONS = 100

_OUTSIDE_EVERY_AREA = 1e11
_SHAPES = {"bbox": "bbox", "segm": "segmentation"}


def coco_metrics(image_ids, ground_truth, detections, class_names, category_ids, iou_type="bbox"):
    """Average precision by the COCO protocol, in percent.

    AP is the mean over the IoU thresholds 0.50:0.05:0.95 and over the classes that have ground
    truth; AP50 ... AP90 are at one threshold; AP_small, AP_medium and AP_large count objects by
    their annotated area (below 32^2, up to 96^2, above; square pixels). At most 100 detections an
    image and class count. A crowd region takes any number of detections, which are then neither
    hits nor misses. A `difficult` object takes one, as COCO's protocol has it for every object
    that it ignores (the VOC devkit's own would forgive duplicates, too).

    Args:
        image_ids: iterable of int. All images, those without objects too.
        ground_truth: list of dict. `image_id`, `category_id`, `bbox` (x, y, width, height; pixels),
            `area` (square pixels), and optionally `iscrowd` and `difficult`; for masks
            `segmentation`, compressed RLE, too.
        detections: list of dict. COCO results: `image_id`, `category_id`, `bbox`, `score`; for
            masks `segmentation`, too.
        class_names: sequence of str. Class index -> name.
        category_ids: sequence of int. Class index -> id.
        iou_type: `"bbox"` or `"segm"`. Whether boxes are compared, or masks: then a false alarm is
            small, medium or large by its mask, too. Defaults to `"bbox"`.

    Returns:
        Tuple `(metrics, per_class)`: name of metric -> percent, and name of class -> AP in
        percent. None where there is no ground truth to find.

    Example:

    >>> box = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 40, 40]}
    >>> metrics, per_class = coco_metrics(
    ...     [0], [{**box, "area": 1600}], [{**box, "score": 0.9}], ["cat"], [1])
    >>> metrics["AP"], metrics["AP_small"], per_class
    (100.0, None, {'cat': 100.0})
    """
    evaluated = evaluate_images(image_ids, ground_truth, detections, category_ids, iou_type)
    precision = precision_of(evaluated)
    everything = precision[..., 0]
    metrics = over_thresholds(everything)
    for index, area in enumerate(AREAS, start=1):
        metrics[f"AP_{area}"] = _percent(precision[..., index])
    order = np.argsort(category_ids, kind="stable")
    column = {int(index): rank for rank, index in enumerate(order)}
    per_class = {
        name: _percent(everything[:, :, column[index]]) for index, name in enumerate(class_names)
    }
    return metrics, per_class


def box_ious(boxes, others):
    """IoU of every box with every other.

    Args:
        boxes: array (N, 4). x, y, width, height.
        others: array (M, 4).

    Returns:
        float array (N, M). 0 where both have no area.

    Example:

    >>> box_ious([[0, 0, 4, 2]], [[2, 0, 4, 2], [4, 0, 4, 2]]).round(3).tolist()
    [[0.333, 0.0]]
    """
    from faster_coco_eval import mask

    boxes, others = (np.reshape(rows, (-1, 4)).astype(float) for rows in (boxes, others))
    found = mask.iou(boxes, others, [0] * len(others))
    return np.reshape(found, (len(boxes), len(others)))


def evaluate_images(
    image_ids, ground_truth, detections, category_ids, iou_type="bbox", areas=AREAS, **settings
):
    """Matches detections with objects, image by image.

    Args:
        image_ids, ground_truth, detections, category_ids, iou_type: as for `coco_metrics`.
        areas: the first few of `AREAS`: which are told apart. Defaults to all.
        **settings: of faster_coco_eval's `COCOeval_faster`.

    Returns:
        A `COCOeval_faster` that has evaluated and not yet accumulated.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    shape = _SHAPES[iou_type]
    log = logging.getLogger(__name__).debug
    truth = COCO(
        {
            # Sizes are asked for with masks, and used for polygons alone.
            "images": [{"id": int(i), "height": 0, "width": 0} for i in image_ids],
            "categories": [{"id": int(i), "name": str(i)} for i in category_ids],
            "annotations": [
                _annotation(i, item, shape) for i, item in enumerate(ground_truth, start=1)
            ],
        },
        print_function=log,
    )
    found = truth.loadRes([_result(item, shape) for item in detections])
    evaluated = COCOeval_faster(truth, found, iouType=iou_type, print_function=log, **settings)
    evaluated.params.maxDets = [MAX_DETECTIONS]
    evaluated.params.areaRng = evaluated.params.areaRng[: 1 + len(areas)]
    evaluated.evaluate()
    return evaluated


def precision_of(evaluated):
    """Precision over all images, -1 where there is nothing to find.

    Args:
        evaluated: as `evaluate_images` returns it.

    Returns:
        float array: by IoU threshold (0.50:0.05:0.95), recall (0:0.01:1), category in rising id,
        and area (all, small, ...).
    """
    evaluated.accumulate()
    return np.asarray(evaluated.eval["precision"], np.float64)[..., 0]


def over_thresholds(precision) -> dict:
    """AP over the ten thresholds and at some of them, in percent.

    Args:
        precision: float array. As `precision_of` gives it, of one area.

    Returns:
        Dict. The keys are `OVER_THRESHOLDS`; None where there is nothing to find.
    """
    metrics = {"AP": _percent(precision)}
    for percent in IOU_THRESHOLDS:
        metrics[f"AP{percent}"] = _percent(precision[(percent - 50) // 5])
    return metrics


def _annotation(annotation_id, item, shape):
    # Zero is no annotation id: COCO's matcher reads it as "unmatched". An area beyond every range
    # makes an object ignored as COCO ignores, without the crowd's way of measuring IoU.
    return {
        "id": annotation_id,
        "image_id": item["image_id"],
        "category_id": item["category_id"],
        shape: item[shape],
        "area": _OUTSIDE_EVERY_AREA if item.get("difficult") else item["area"],
        "iscrowd": int(item.get("iscrowd", 0)),
    }


def _result(item, shape):
    # loadRes writes into what it is given. It takes the area of a mask only where there is no box,
    # and makes a mask of a box only where there is none.
    keys = ("image_id", "category_id", "score", shape)
    return {"segmentation": [], **{key: item[key] for key in keys}}


def _percent(precision):
    known = precision[precision > -1]
    return 100.0 * float(known.mean()) if known.size else None
