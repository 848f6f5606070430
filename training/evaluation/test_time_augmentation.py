"""Testing at several scales, mirrored too: a detector looks at each image in several ways."""

import math
from dataclasses import dataclass

from harmonic_tf.models.resizing import resize_detector
from harmonic_tf.training.data.transforms.geometry import mirror_boxes
from harmonic_tf.training.evaluation.detections import check_detector
from harmonic_tf.training.evaluation.evaluator import Evaluation, Evaluator, evaluation_of
from harmonic_tf.training.evaluation.merging import merge_detections, suppression

# At other distances from its own size a network lays its cells elsewhere on the image than it has
# learned, as padding depends on whether maps are odd or even; some networks take no other size.
STEP = 32
# Times its own size; memory grows with the square, and beyond it ends the process.
LARGEST = 4


class Flipped:
    """A detector that is shown every image mirrored, and answers for the image as it is.

    Args:
        detector: detector of harmonic_tf.models.
    """

    def __init__(self, detector):
        self.detector = detector

    def __getattr__(self, name):
        return getattr(self.detector, name)

    def __call__(self, images, training=False):
        return self.detector(_mirror_columns(images), training=training)

    def encode_targets(self, y, image_size=None, predictions=None):
        return self.detector.encode_targets(self._mirror(y), image_size, predictions)

    def decode_predictions(self, predictions, images):
        found = self.detector.decode_predictions(predictions, _mirror_columns(images))
        found = self._mirror(found)
        if "masks" in found:
            found["masks"] = found["masks"][..., ::-1]
        return found

    def _mirror(self, objects):
        boxes = mirror_boxes(objects["boxes"], objects["classes"], self.image_size[1])
        return {**objects, "boxes": boxes}


def _mirror_columns(images):
    return images[:, :, ::-1]


@dataclass(frozen=True)
class MergedEvaluation:
    """How a detector did with what it found in several views, and with each view alone.

    Attributes:
        merged: Evaluation. AIC and `mean_p` are those of `own`, or None: merged detections have
            no anchors.
        views: dict. Name of view -> its Evaluation.
        own: str or None. The view that is the detector at its own size, not mirrored.
    """

    merged: Evaluation
    views: dict
    own: str | None


class MultiScaleEvaluator:
    """Evaluates a detector on several views of each image, merging what it finds in them.

    Args:
        model: detector of harmonic_tf.models.
        views: dict. Name -> detector, as `views_of` gives them.
        data: data set of `load_data`.
        merge: str. `"nms"`, with the detector's own IoU threshold, or `"soft-nms"`. Defaults to
            `"nms"`.
        batch_size: int. Images a step. Defaults to `8`.

    Raises:
        ValueError: As `Evaluator`, or if there is no such way of merging.

    Example:

    ```python
    model, labels = load_model_and_labels("runs/bccd")
    data = load_data("voc:BCCD", "eval", class_names=labels.class_names)
    views = views_of(model, scales=(160, 192, 224), flip=True)
    result = MultiScaleEvaluator(model, views, data)()
    print(result.merged.metrics["AP"])
    ```
    """

    def __init__(self, model, views, data, merge="nms", batch_size=8):
        self._suppress = suppression(merge, model.decoding["iou_threshold"])
        self._own = next((name for name, view in views.items() if view is model), None)
        self._evaluators = {name: Evaluator(view, data, batch_size) for name, view in views.items()}
        self._image_ids = [record.image_id for record in data.records]

    def __call__(self, progress=True) -> MergedEvaluation:
        """Runs over all of the data once for each view.

        Args:
            progress: bool. Show progress bars when the output is a terminal. Defaults to `True`.

        Returns:
            MergedEvaluation.
        """
        views = {
            name: evaluate(progress, title=f"evaluate {name}")
            for name, evaluate in self._evaluators.items()
        }
        found = [item for view in views.values() for item in view.detections]
        first, own = next(iter(views.values())), views.get(self._own)
        merged = evaluation_of(
            self._image_ids,
            first.ground_truth,
            merge_detections(found, self._suppress),
            first.labels,
            aic=own.metrics["AIC"] if own else None,
            mean_p=own.mean_p if own else None,
        )
        return MergedEvaluation(merged, views, self._own)


def views_of(model, scales=None, flip=False) -> dict:
    """The detector at each scale, and mirrored.

    Args:
        model: detector of harmonic_tf.models.
        scales: sequence of int or None. Shorter sides of the input in pixels, as of `input_size`.
            None for the detector's own.
        flip: bool. Whether every scale is looked at mirrored, too. Defaults to `False`.

    Returns:
        Dict. Name, such as `"160 x 208 px, mirrored"`, -> detector. At its own size it is `model`
        itself.

    Raises:
        ValueError: If two scales come to the same size, or the detector cannot be had at one.
    """
    check_detector(model)
    own = tuple(model.image_size)
    views, scale_of = {}, {}
    for scale in scales or [min(own)]:
        size = input_size(own, scale)
        if size in scale_of:
            raise ValueError(
                f"expected scales apart; {scale_of[size]} and {scale} both come to "
                f"{size[0]} x {size[1]} pixels"
            )
        scale_of[size] = scale
        name = f"{size[0]} x {size[1]} px"
        views[name] = model if size == own else resize_detector(model, size)
        if flip:
            views[f"{name}, mirrored"] = Flipped(views[name])
    return views


def input_size(image_size, scale):
    """The size of a network's input at another scale, of the same aspect ratio.

    Args:
        image_size: (height, width) of its own, in pixels.
        scale: int. The shorter side in pixels. Both sides are rounded to differ from its own by
            multiples of 32, as the boxes that a network finds are off at other sizes.

    Returns:
        (int, int). Height and width in pixels.

    Raises:
        ValueError: If the scale is below 32, or above four times its own.

    Example:

    >>> input_size((160, 208), 224)
    (224, 304)
    """
    shorter = min(image_size)
    if scale < STEP:
        raise ValueError(f"expected scales of at least {STEP} pixels; received {scale}")
    if scale > LARGEST * shorter:
        raise ValueError(
            f"expected scales of at most {LARGEST * shorter} pixels, {LARGEST} times the model's "
            f"own; received {scale}"
        )
    ratio = _nearest(scale, shorter) / shorter
    return tuple(_nearest(side * ratio, side) for side in image_size)


def _nearest(length, own):
    """The length that is nearest and differs from `own` by a multiple of 32."""
    return own + STEP * math.floor((length - own) / STEP + 0.5)
