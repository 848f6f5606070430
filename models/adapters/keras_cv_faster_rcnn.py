"""`keras_cv.models.FasterRCNN` of keras-cv-nightly: two stages, softmax with background first."""

from keras import ops

from harmonic_tf.layouts import Layout
from harmonic_tf.models.adapters.adapter import Adapter
from harmonic_tf.models.stages import Lesson
from harmonic_tf.ops import IGNORED


class KerasCVFasterRCNN(Adapter):
    """How KerasCV's Faster R-CNN learns: the compiled loss is its head's.

    Its RPN has the standard loss, over the anchors that it samples. Classes are counted from 1, as
    it counts them.

    Raises:
        ValueError: for a detector in half precision, of which its own NMS knows nothing.
    """

    loss_settings = {
        "classification": "softmax",
        "box_variance": (0.1, 0.1, 0.2, 0.2),
        "negative_ratio": None,
        "layout": Layout(background="first"),
    }
    others = {
        "rpn": {
            "classification": "softmax",
            "box_variance": (0.1, 0.1, 0.2, 0.2),
            "negative_ratio": None,
        }
    }

    def __init__(self, detector):
        policy = detector.dtype_policy
        if policy.compute_dtype != "float32":
            raise ValueError(
                "FasterRCNN of keras-cv-nightly computes in float32 alone, for its NMS fails in "
                f"any other precision: build it under float32. Received: {policy.name}"
            )
        super().__init__(detector)

    def lessons(self, x, y, outputs, training):
        objects, broken = self.objects(x, y, self.detector.num_classes + 1)
        y_true, y_pred, weights = self._handed_to_losses(x, objects, outputs, training)
        head = Lesson(
            {
                "box": y_true["box"],
                "classification": _sampled(
                    ops.argmax(y_true["classification"], axis=-1), weights["classification"]
                ),
            },
            {
                "box": ops.cast(y_pred["box"], "float32") + broken,
                "classification": y_pred["classification"],
            },
        )
        objectness = y_pred["rpn_classification"]
        learned = _sampled(y_true["rpn_classification"], weights["rpn_classification"])[..., 0]
        rpn = Lesson(
            {"box": y_true["rpn_box"], "classification": learned},
            {
                "box": y_pred["rpn_box"],
                "classification": ops.concatenate(
                    [objectness, ops.zeros_like(objectness)], axis=-1
                ),
            },
            ops.sum(ops.cast(ops.not_equal(learned, IGNORED), "float32")),
        )
        return head, {"rpn": rpn}

    def _handed_to_losses(self, x, y, outputs, training):
        """What the detector's own `compute_loss` would give to its losses, which are not called.

        Returns:
            `(y_true, y_pred, sample_weight)`, dictionaries.

        Raises:
            ValueError: for a batch of unknown size, of which it cannot take a quarter.
        """
        if x.shape[0] is None:
            raise ValueError(
                "FasterRCNN of keras-cv-nightly learns from batches of a known size alone: "
                "expected dataset.batch(size, drop_remainder=True), or arrays whose length is a "
                f"multiple of batch_size. Received images of shape {tuple(x.shape)}."
            )
        found = []

        def record(*arguments):
            found.append(arguments)
            return ops.zeros(())

        own, self.detector._compile_loss = self.detector._compile_loss, record
        try:
            self.detector.compute_loss(x, y, outputs, sample_weight=None, training=training)
        finally:
            self.detector._compile_loss = own
        return found[0]


def _sampled(classes, weights):
    """Classes counted from 0, of 0 as background; those without weight are ignored."""
    classes = ops.cast(classes, "float32") - 1
    return ops.where(weights > 0, classes, IGNORED)
