"""Cascade R-CNN (Cai & Vasconcelos 2018): each head refines the regions of the one before."""

from typing import NamedTuple

import keras
from keras import ops

from harmonic_tf import boxes
from harmonic_tf.models.detector import update_mean
from harmonic_tf.models.faster_rcnn import FasterRCNN, presets


class Stage(NamedTuple):
    """A head of the cascade: the IoU from which it calls a region positive, and its variance."""

    iou: float
    variance: tuple[float, float, float, float]

    @property
    def matching(self):
        return {"positive_threshold": self.iou, "negative_threshold": self.iou, "force": False}


# The better the regions, the smaller their deltas: divided by 1, 2 and 3 times as little.
_FIRST, _SECOND, _THIRD = (
    Stage(iou, (0.1 / i, 0.1 / i, 0.2 / i, 0.2 / i)) for i, iou in enumerate((0.5, 0.6, 0.7), 1)
)


@keras.saving.register_keras_serializable(package="harmonic_tf")
class CascadeRCNN(FasterRCNN):
    """Faster R-CNN with three heads, positive from an IoU of 0.5, 0.6 and 0.7 (section 4).

    The regions that the first head learns from are a sample, as Faster R-CNN's; those of the second
    and third are the boxes that the head before makes of them. No gradient flows through boxes. A
    region has one box for all classes. The scores of a detection are the mean of the three heads'
    for the region that it comes from.

    The compiled loss is that of the third head, and with `harmonize_stages` of the other two, each
    with its own variance and divided by its own positives; otherwise they have the standard loss.
    All three weigh the same.

    Args:
        backbone: as for `FasterRCNN`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        harmonize_stages: bool. Whether the compiled loss is also that of the first two heads.
        **settings: the other arguments of `FasterRCNN`, but for `class_agnostic`.

    Example:

    >>> model = CascadeRCNN.from_preset("cascade_rcnn_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    box_variance = _THIRD.variance

    def __init__(
        self,
        backbone,
        num_classes,
        bounding_box_format="xyxy",
        harmonize_stages=False,
        **settings,
    ):
        super().__init__(
            backbone, num_classes, bounding_box_format, class_agnostic=True, **settings
        )
        self.harmonize_stages = harmonize_stages
        self.matching = _THIRD.matching
        self.later_heads = [self._head("second_head"), self._head("third_head")]
        self.stage_metrics = [
            keras.metrics.Mean(name=f"{name}_stage_loss") for name in ("first", "second")
        ]

    def call(self, images, training=None):
        predictions = super().call(images, training=training)
        if training:
            return predictions
        stages = self._stages(predictions, training)
        scores = [ops.softmax(stage["classification"], axis=-1) for stage in stages]
        mean = ops.mean(ops.stack(scores), axis=0)
        return {**stages[-1], "classification": ops.log(ops.maximum(mean, 1e-30))}

    def _stages(self, first, training):
        """What each head predicts, beginning with what the first one did."""
        stages = [first]
        for head, before in zip(self.later_heads, (_FIRST, _SECOND), strict=True):
            rois = self._refined(stages[-1], before.variance)
            looked = self._head_predictions(head, first["cells"], rois, training)
            stages.append({**stages[-1], **looked})
        return stages

    def _refined(self, predictions, variance):
        """The regions as a head has moved them, within the image."""
        rois = predictions["rois"]
        moved = boxes.decode(ops.stop_gradient(predictions["box"]), rois, variance)
        moved = boxes.clip(moved, self.image_size)
        return ops.where(boxes.has_area(rois)[..., None], moved, -1.0)

    def last_stage(self, y, predictions, image_size):
        stages = self._stages(super().last_stage(y, predictions, image_size), training=True)
        return {**stages[-1], "earlier_stages": stages[:-1]}

    def further_losses(self, y, image_size, predictions, sample_weight):
        """The RPN's loss and those of the first two heads."""
        total = super().further_losses(y, image_size, predictions, sample_weight)
        for stage, earlier, metric in zip(
            (_FIRST, _SECOND), predictions["earlier_stages"], self.stage_metrics, strict=True
        ):
            targets = self._targets(y, image_size, earlier["rois"], stage.matching, stage.variance)
            loss = self._stage_loss(self.harmonize_stages, stage.variance)
            own, parts = loss.with_parts(targets, self.loss_inputs(earlier, targets), sample_weight)
            update_mean(metric, parts.total, parts)
            total = total + own
        return total

    def get_config(self):
        config = {**super().get_config(), "harmonize_stages": self.harmonize_stages}
        del config["class_agnostic"]
        return config


CascadeRCNN.presets = presets("cascade_rcnn")
