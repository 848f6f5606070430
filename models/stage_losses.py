"""The loss of a detector: that of each of its stages, and of its branches."""

from keras import ops

from harmonic_tf.models.ground_truth import image_size_of, nan_if_broken, read_sample_weight
from harmonic_tf.models.joint_training import JointTraining, update_mean
from harmonic_tf.models.stages import look
from harmonic_tf.ops import global_sum


class StageLosses(JointTraining):
    """How a Keras model with `stages` and `branches` is trained; a part of `Detector`."""

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True, **kwargs
    ):
        """The sum of all stages' losses on a batch, and the layers' own; updates the metrics.

        Of `x`, the images, only the size is read; without them it is that of the network's input.
        In evaluation the samples that stages learn from are not random.
        """
        image_size = self.image_size if x is None else image_size_of(x)
        truth = self._ground_truth(y, image_size)
        sample_weight = read_sample_weight(sample_weight)
        seed = self.seed_generator if training else None
        rows = look(self.stages, y_pred, image_size, truth, seed, training)
        total = nan_if_broken(truth) + self._layer_losses()
        lessons = {}
        for stage in self.stages:
            lesson = lessons[stage.name] = stage.lesson(rows[stage.name], y_pred, truth, seed)
            total = total + self._stage_loss(stage, lesson, sample_weight)
        for branch in self.branches:
            terms = branch.loss_terms(rows, lessons, y_pred, truth, training)
            total = total + self._branch_loss(branch, *terms, sample_weight)
        return total

    def _stage_loss(self, stage, lesson, sample_weight):
        settings = {**stage.loss_settings, "box_loss": stage.box_loss}
        if stage is self.last_stage:
            return self._compiled_loss(lesson, sample_weight, settings)
        return self._other_loss(stage.name, lesson, settings, sample_weight, stage.harmonized)

    def _branch_loss(self, branch, terms, positive, sample_weight):
        """The mean of a branch's terms over the positives of the global batch."""
        terms, count = terms * positive, ops.sum(positive)
        update_mean(self.other_losses[branch.name], terms, count)
        if sample_weight is not None:
            terms = terms * ops.cast(sample_weight, "float32")[:, None]
        return ops.sum(terms) / ops.maximum(global_sum(count), 1.0)
