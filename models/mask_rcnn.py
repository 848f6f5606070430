"""Mask R-CNN (He et al. 2017): Faster R-CNN with a mask of each object."""

import keras
from keras import ops

from harmonic_tf.masks import resample
from harmonic_tf.models.faster_rcnn import FasterRCNN, presets
from harmonic_tf.models.matching import match
from harmonic_tf.models.region_heads import mask_head
from harmonic_tf.models.sampling import batched_gather, positive_rows
from harmonic_tf.models.schedules import TINY
from harmonic_tf.ops import global_sum


@keras.saving.register_keras_serializable(package="harmonic_tf")
class MaskRCNN(FasterRCNN):
    """Faster R-CNN with a third branch, which draws the mask of each object in its region.

    It is trained on `{"boxes": (B, M, 4), "classes": (B, M), "masks": (B, M, S, S)}`: masks from 0
    to 1 in the frame of their box (`harmonic_tf.masks`), of any size S. `predict` gives `"masks"`
    `(B, D, 28, 28)` too: probabilities in the frame of the detection's box, -1 where padded.

    The branch learns from the positives of the head's sample. Its loss is the binary cross-entropy
    of the mask of the region's own class, its mean over the cells, and over the positives of the
    global batch (section 3); the compiled loss has no part in it.

    Args:
        backbone: as for `FasterRCNN`.
        num_classes: int C, without the background.
        bounding_box_format: string. Keras's name of the format of boxes in and out.
        mask_filters: int. Channels of the mask branch.
        **settings: the other arguments of `FasterRCNN`.

    Example:

    >>> model = MaskRCNN.from_preset("mask_rcnn_tiny", num_classes=3)
    >>> model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    >>> model.predict(np.zeros((1, 160, 208, 3)), verbose=0)["masks"].shape
    (1, 100, 28, 28)
    """

    has_masks = True
    mask_size = 28

    def __init__(
        self, backbone, num_classes, bounding_box_format="xyxy", mask_filters=256, **settings
    ):
        super().__init__(backbone, num_classes, bounding_box_format, **settings)
        self.mask_filters = mask_filters
        self.mask_head = mask_head(self.mask_size // 2, self.filters, mask_filters, num_classes)
        self.mask_metric = keras.metrics.Mean(name="mask_loss")

    def further_losses(self, y, image_size, predictions, sample_weight):
        """The RPN's loss and that of the masks."""
        total = super().further_losses(y, image_size, predictions, sample_weight)
        return total + self._mask_loss(y, image_size, predictions, sample_weight)

    def _mask_loss(self, y, image_size, predictions, sample_weight):
        rois = predictions["rois"]
        rois = rois[:, : positive_rows(rois.shape[1], self.positive_fraction)]
        objects = _with_padding({**y, "boxes": self._boxes(y, image_size)})
        index, label = match(rois, objects["boxes"], **self.matching)
        own = {key: batched_gather(value, index) for key, value in objects.items()}
        seen = resample(own["masks"], own["boxes"], rois, self.mask_size)
        target = ops.cast(seen >= 0.5, "float32")
        logits = self._mask_logits(predictions["cells"], rois, own["classes"], training=True)
        terms = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True), axis=(2, 3))
        positive = ops.cast(ops.equal(label, 0), "float32")
        terms, count = terms * positive, ops.sum(positive)
        self.mask_metric.update_state(ops.sum(terms) / ops.maximum(count, 1.0), sample_weight=count)
        if sample_weight is not None:
            terms = terms * ops.cast(sample_weight, "float32")[:, None]
        return ops.sum(terms) / ops.maximum(global_sum(count), 1.0)

    def _mask_logits(self, cells, rois, classes, training):
        """Logits of the mask of one class in each region, `(B, R, 28, 28)`."""
        pooled = self._pool(cells, rois, self.mask_size // 2)
        logits = self.mask_head(pooled, training=training)
        shape = (-1, rois.shape[1], self.mask_size, self.mask_size, self.num_classes)
        one_class = ops.one_hot(ops.maximum(ops.cast(classes, "int32"), 0), self.num_classes)
        return ops.einsum("brhwc,brc->brhw", ops.reshape(logits, shape), one_class)

    def decode_predictions(self, predictions, images):
        """Detections and, in the frames of their boxes, `"masks"`: `(B, D, 28, 28)` from 0 to 1."""
        found = super().decode_predictions(predictions, images)
        rois = self._boxes(found, self.image_size)
        logits = self._mask_logits(predictions["cells"], rois, found["classes"], training=False)
        present = (found["classes"] >= 0)[..., None, None]
        return {**found, "masks": ops.where(present, ops.sigmoid(logits), -1.0)}

    def get_config(self):
        return {**super().get_config(), "mask_filters": self.mask_filters}


def _with_padding(objects):
    """Ground truth in float32, with a row of padding more, so that regions have one to point at."""
    last = {"boxes": -1.0, "classes": -1.0, "masks": 0.0}
    values = {key: ops.cast(objects[key], "float32") for key in last}
    return {
        key: ops.pad(x, [[0, 0], [0, 1]] + [[0, 0]] * (len(x.shape) - 2), constant_values=last[key])
        for key, x in values.items()
    }


# A step takes twice as long as one of Faster R-CNN.
_TINY_TRAINING = {**TINY, "epochs": 25}
MaskRCNN.presets = presets("mask_rcnn", _TINY_TRAINING, mask_filters=32, head_batch=32)
