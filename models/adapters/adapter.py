"""What there is to know of someone's detector to train it with a joint loss."""

from keras import ops

from harmonic_tf.models.ground_truth import image_size_of, nan_if_broken, read_objects


class Adapter:
    """How a detector's batch becomes what a joint loss reads; a subclass for each kind.

    Args:
        detector: the user's Keras model. Reading a batch does not change it.

    Attributes:
        loss_settings: dictionary. The arguments of a joint loss that the detector needs; see
            `JointLoss.for_detector`.
        others: dictionary of name to the `loss_settings` of what the detector learns beside, with
            the standard loss.
        decodes: bool. Whether `predict` gives boxes.
        misplaces_prior: bool. Whether `repair_prior` has something to repair.
    """

    others = {}
    decodes = True
    misplaces_prior = False

    def __init__(self, detector):
        self.detector = detector

    def lessons(self, x, y, outputs, training):
        """What the detector learns from a batch.

        Args:
            x: images `(B, H, W, 3)`.
            y: their targets, as the detector's own `fit` takes them.
            outputs: what the detector returned for `x`.
            training: bool.

        Returns:
            `(lesson, others)`: a `harmonic_tf.models.stages.Lesson`, and a dictionary of name to
            `Lesson`, with the keys of `self.others`.
        """
        raise NotImplementedError

    def prepare(self, **arguments):
        """The arguments of Keras's `fit`, `evaluate` or `predict` for those of the detector's."""
        return arguments

    def objects(self, x, y, num_classes):
        """Ground truth as a label encoder reads it, checked.

        Args:
            x: images `(B, H, W, 3)`; only the size is read.
            y: see `harmonic_tf.models.ground_truth.read_objects`.
            num_classes: int. Classes must be below.

        Returns:
            `(objects, broken)`: `{"boxes": (B, M, 4), "classes": (B, M)}` with M of at least 1, for
            encoders look for the best box; and 0, or NaN if an object cannot be where that could
            not be refused.
        """
        own_format = self.detector.bounding_box_format
        truth = read_objects(y, own_format, image_size_of(x), num_classes)
        count = ops.shape(truth["boxes"])[1]
        missing = max(1 - count, 0) if isinstance(count, int) else ops.maximum(1 - count, 0)
        batch = ops.shape(truth["boxes"])[0]
        none = {"boxes": -ops.ones((batch, 1, 4)), "classes": -ops.ones((batch, 1))}
        filled = {
            key: ops.concatenate([truth[key], value[:, :missing]], axis=1)
            for key, value in none.items()
        }
        return filled, nan_if_broken(truth)
