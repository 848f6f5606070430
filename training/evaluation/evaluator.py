"""Evaluation of a detector in original pixels: COCO's AP, and how well score and box agree."""

import math
from dataclasses import dataclass, field

import tensorflow as tf

from harmonic_tf.metrics import InconsistencyCoefficient, MeanScore
from harmonic_tf.training.data import eval_batches, network_boxes
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.evaluation.average_precision import coco_metrics
from harmonic_tf.training.evaluation.detections import check_detector, coco_results, to_original
from harmonic_tf.training.files import write_json
from harmonic_tf.training.labels import Labels
from harmonic_tf.training.progress import progress_bar
from harmonic_tf.training.rle import as_rle


@dataclass(frozen=True)
class Evaluation:
    """How a detector did on a data set.

    Attributes:
        metrics: dict. AP, AP50, AP60, AP70, AP75, AP80, AP90, AP_small, AP_medium, AP_large in
            percent and AIC, equation (14), as a fraction; None where there is nothing to find. If
            the detector finds masks and every object has one, also segm_AP, segm_AP50, ...: the
            same for masks instead of boxes.
        per_class: dict. Name of class -> AP in percent, or None.
        mean_p: float or None. Mean score that positives give to their own class: AIC falls with
            it alone, so the two are read together.
        detections: list of dict. COCO results in original pixels.
        ground_truth: list of dict, as `ground_truth_of` gives them.
        counts: dict. Number of `images`, `objects` (those that count), `crowd`, `difficult`,
            `detections`, and objects of any kind `without_mask`, if the detector finds masks.
        labels: Labels. The names and ids of the classes.
        segm_per_class: dict. As `per_class`, for masks; empty if they were not compared.
        image_ids: list of int. All images, those without objects too.
    """

    metrics: dict
    per_class: dict
    mean_p: float | None
    detections: list
    ground_truth: list
    counts: dict
    labels: Labels
    segm_per_class: dict = field(default_factory=dict)
    image_ids: list = field(default_factory=list)


class Evaluator:
    """Evaluates one model on one data set as often as asked, tracing its graph once.

    Args:
        model: detector of harmonic_tf.models.
        data: data set of `load_data`.
        batch_size: int. Images a step. Defaults to `8`.

    Raises:
        ValueError: If model and data have different numbers of classes, or the model takes
            images of any size.
    """

    def __init__(self, model, data, batch_size=8):
        check_detector(model)
        if len(data.class_names) != model.num_classes:
            raise ValueError(
                f"the model knows {model.num_classes} classes; {data.name} has "
                f"{len(data.class_names)}: {list(data.class_names)}"
            )
        self.labels = Labels.of(data)
        self.num_images = len(data)
        self.ground_truth = ground_truth_of(data, masks=model.has_masks)
        self.batch_size = batch_size
        self.batches = eval_batches(
            data, image_size=model.image_size, batch_size=batch_size, resize=model.resize
        )
        form = {key: x for key, x in model.loss_settings.items() if key != "negative_ratio"}
        self.inconsistency = InconsistencyCoefficient(**form)
        self.mean_score = MeanScore(**form)
        self._step = self._make_step(model)

    def _make_step(self, model):
        def spec(*shape, dtype=tf.float32):
            return tf.TensorSpec((self.batch_size, *shape), dtype)

        @tf.function(
            input_signature=[
                spec(*model.image_size, 3),
                {"boxes": spec(None, 4), "classes": spec(None)},
                {"scale": spec(2), "offset": spec(2), "size": spec(2, dtype=tf.int32)},
            ],
            autograph=False,
        )
        def step(images, objects, geometry):
            raw = model(images, training=False)
            targets = model.encode_targets(objects, predictions=raw)
            loss_inputs = model.loss_inputs(raw, targets)
            self.inconsistency.update_state(targets, loss_inputs)
            self.mean_score.update_state(targets, loss_inputs)
            found = to_original(model.decode_predictions(raw, images), **geometry)
            return found, _all_finite(raw)

        return step

    def __call__(self, progress=True, title="evaluate") -> Evaluation:
        """Runs over all of the data.

        Args:
            progress: bool. Show a progress bar when the output is a terminal. Defaults to `True`.
            title: str. What stands before the bar. Defaults to `"evaluate"`.

        Returns:
            Evaluation.

        Raises:
            UserError: If what the model returns is not finite.
        """
        self.inconsistency.reset_state()
        self.mean_score.reset_state()
        image_ids, detections = [], []
        with progress_bar(progress) as bar:
            task = bar.add_task(title, total=self.num_images)
            for batch in self.batches:
                ids = batch["image_id"].numpy().tolist()
                found = self._detect(pad_batch(batch, self.batch_size))
                sizes = batch["original_size"].numpy()
                detections += coco_results(found, ids, self.labels.category_ids, sizes)
                image_ids += ids
                bar.advance(task, len(ids))
        has_objects = any(not item["iscrowd"] for item in self.ground_truth)
        return evaluation_of(
            image_ids,
            self.ground_truth,
            detections,
            self.labels,
            aic=_finite(self.inconsistency.result()) if has_objects else None,
            mean_p=_finite(self.mean_score.result()) if has_objects else None,
        )

    def _detect(self, batch):
        objects = network_boxes(batch)
        geometry = {
            "scale": batch["scale"],
            "offset": batch["offset"],
            "size": batch["original_size"],
        }
        found, finite = self._step(batch["images"], objects, geometry)
        if not finite:
            raise UserError(
                "what the model returns is NaN or infinite, so there is nothing to measure; train "
                "it anew with a lower learning rate or a smaller clip norm"
            )
        return found


def evaluation_of(image_ids, ground_truth, detections, labels, aic, mean_p) -> Evaluation:
    """The evaluation of detections, wherever they come from.

    Args:
        image_ids: sequence of int. All images, those without objects too.
        ground_truth: list of dict, as `Evaluation.ground_truth`.
        detections: list of dict. COCO results in original pixels.
        labels: Labels. The names and ids of the classes.
        aic: float or None. Equation (14), which detections alone do not tell.
        mean_p: float or None. See `Evaluation`.
    """
    everything = (image_ids, ground_truth, detections, labels.class_names, labels.category_ids)
    counts = _counts(image_ids, ground_truth, detections)
    metrics, per_class = coco_metrics(*everything)
    segm_per_class = {}
    if any("segmentation" in item for item in ground_truth) and not counts["without_mask"]:
        segm, segm_per_class = coco_metrics(*everything, iou_type="segm")
        metrics |= {f"segm_{name}": value for name, value in segm.items()}
    return Evaluation(
        metrics={**metrics, "AIC": aic},
        per_class=per_class,
        mean_p=mean_p,
        detections=detections,
        ground_truth=ground_truth,
        counts=counts,
        labels=labels,
        segm_per_class=segm_per_class,
        image_ids=list(image_ids),
    )


def evaluate_model(model, data, batch_size=8, progress=True) -> Evaluation:
    """Evaluates a detector by the COCO protocol, in the pixels of the original images.

    AIC (14) and the mean score come from the same forward pass as the detections.

    Args:
        model: detector of harmonic_tf.models.
        data: data set of `load_data`, with role "eval".
        batch_size: int. Images a step. Defaults to `8`.
        progress: bool. Show a progress bar when the output is a terminal. Defaults to `True`.

    Returns:
        Evaluation.

    Raises:
        ValueError: If model and data have different numbers of classes, or the model takes
            images of any size.
        UserError: If what the model returns is not finite.

    Example:

    ```python
    model = models.from_preset("ssd_tiny", num_classes=3)
    evaluation = evaluate_model(model, load_data("shapes:val=20", role="eval"))
    print(evaluation.metrics["AP"])
    ```
    """
    return Evaluator(model, data, batch_size)(progress)


def pad_batch(batch, batch_size):
    """Fills a batch up with images without objects.

    Args:
        batch: dict of tensors (B, ...). As `eval_batches` gives them.
        batch_size: int. At least B.

    Returns:
        The same keys, (batch_size, ...). Padding has scale 1 and no objects.
    """
    missing = batch_size - int(batch["images"].shape[0])
    if missing == 0:
        return batch

    def fill(key, value):
        constant = {"scale": 1, "boxes": -1, "classes": -1}.get(key, 0)
        constant = tf.cast(constant, value.dtype)
        return tf.concat([value, tf.fill((missing, *value.shape[1:]), constant)], axis=0)

    return {key: fill(key, value) for key, value in batch.items()}


def ground_truth_of(data, masks=False) -> list:
    """The objects of a data set as COCO annotations, in original pixels.

    Args:
        data: data set of `load_data`.
        masks: bool. With their masks. Defaults to `False`.

    Returns:
        List of dict: `image_id`, `category_id`, `bbox` (x, y, width, height), `area`, `iscrowd`,
        `difficult`, and with `masks` also `segmentation`: compressed RLE, or None.
    """
    ground_truth = []
    for record in data.records:
        objects, size = record.objects, (record.height, record.width)
        arrays = (objects.boxes, objects.classes, objects.area, objects.crowd, objects.difficult)
        columns = (*(array.tolist() for array in arrays), objects.segmentations)
        for (x1, y1, x2, y2), index, area, crowd, difficult, mask in zip(*columns, strict=True):
            item = {
                "image_id": record.image_id,
                "category_id": data.category_ids[index],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": area,
                "iscrowd": int(crowd),
                "difficult": difficult,
            }
            if masks:
                item["segmentation"] = as_rle(mask, size) if mask else None
            ground_truth.append(item)
    return ground_truth


def write_metrics(evaluation: Evaluation, path):
    """Writes `evaluation.metrics` as JSON, atomically.

    Args:
        evaluation: Evaluation.
        path: str or Path. Usually a run's `metrics.json`.

    Returns:
        Path. The file written.
    """
    return write_json(path, evaluation.metrics)


def _counts(image_ids, ground_truth, detections):
    crowd = sum(item["iscrowd"] for item in ground_truth)
    difficult = sum(item["difficult"] and not item["iscrowd"] for item in ground_truth)
    return {
        "images": len(image_ids),
        "objects": len(ground_truth) - crowd - difficult,
        "crowd": crowd,
        "difficult": difficult,
        "detections": len(detections),
        "without_mask": sum(not item.get("segmentation", True) for item in ground_truth),
    }


def _all_finite(outputs):
    outputs = [tf.convert_to_tensor(output) for output in tf.nest.flatten(outputs)]
    floats = [output for output in outputs if output.dtype.is_floating]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(output)) for output in floats])


def _finite(value):
    value = float(value)
    return value if math.isfinite(value) else None
