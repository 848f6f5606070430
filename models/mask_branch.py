"""Masks beside boxes (He et al. 2017): drawn in the frame of each region."""

from keras import ops

from harmonic_tf.masks import resample
from harmonic_tf.models.layers.roi_align import RegionFeatures
from harmonic_tf.models.matching import match
from harmonic_tf.models.region_heads import mask_head
from harmonic_tf.models.sampling import batched_gather

MASK_SIZE = 28


class MaskBranch:
    """Draws the mask of the object in each region.

    It learns from the positives of a stage's sample, from `"masks"` `(B, M, S, S)` in the ground
    truth: from 0 to 1 in the frame of their box (`harmonic_tf.masks`), of any size S. Its loss is
    the binary cross-entropy of the mask of the region's own class, its mean over the cells, and
    over the positives of the global batch (section 3); the compiled loss has no part in it.

    Args:
        features: `RegionFeatures`.
        num_classes: int C.
        filters: int. Channels of its convolutions.
        after: name of the stage whose regions it looks at in training.

    Attributes:
        network: Keras model from pooled features to the logits of all classes' masks.
    """

    name = "mask"

    def __init__(self, features: RegionFeatures, num_classes, filters, after):
        self.features = features
        self.num_classes = num_classes
        self.after = after
        self.network = mask_head(MASK_SIZE // 2, features.filters, filters, num_classes)

    def loss_terms(self, rows, lessons, outputs, truth, training):
        """The loss of each region that may be positive, and which are, `(B, R)` each."""
        row = rows[self.after]
        regions = row.reference_boxes[:, : row.stage.sampler.positives]
        objects = _with_padding(truth)
        index, label = match(regions, objects["boxes"], row.stage.targets)
        own = {key: batched_gather(value, index) for key, value in objects.items()}
        seen = resample(own["masks"], own["boxes"], regions, MASK_SIZE)
        target = ops.cast(seen >= 0.5, "float32")
        logits = self._logits(outputs, regions, own["classes"], training)
        terms = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True), axis=(2, 3))
        return terms, ops.cast(ops.equal(label, 0), "float32")

    def detections(self, found, outputs):
        """`{"masks": (B, D, 28, 28)}` in the frames of the detections' boxes, -1 where padded."""
        logits = self._logits(outputs, found["boxes"], found["classes"], training=False)
        present = (found["classes"] >= 0)[..., None, None]
        return {"masks": ops.where(present, ops.sigmoid(logits), -1.0)}

    def _logits(self, outputs, regions, classes, training):
        """Logits of the mask of one class in each region, `(B, R, 28, 28)`."""
        pooled = self.features(outputs["cells"], regions, MASK_SIZE // 2)
        logits = self.network(pooled, training=training)
        shape = (-1, regions.shape[1], MASK_SIZE, MASK_SIZE, self.num_classes)
        one_class = ops.one_hot(ops.maximum(ops.cast(classes, "int32"), 0), self.num_classes)
        return ops.einsum("brhwc,brc->brhw", ops.reshape(logits, shape), one_class)


def _with_padding(truth):
    """Ground truth with a row of padding more, so that regions have one to point at."""
    last = {"boxes": -1.0, "classes": -1.0, "masks": 0.0}
    return {
        key: ops.pad(
            truth[key],
            [[0, 0], [0, 1]] + [[0, 0]] * (len(truth[key].shape) - 2),
            constant_values=value,
        )
        for key, value in last.items()
    }
