"""The loss of a detector: that of each of its stages, and of its branches."""

import keras
from keras import ops

from harmonic_tf import metrics
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.models.ground_truth import image_size_of, nan_if_broken, read_sample_weight
from harmonic_tf.models.stages import look
from harmonic_tf.ops import global_sum, replica_count


class StageLosses:
    """How a Keras model with `stages` and `branches` is trained; a part of `DetectorMixin`."""

    def _make_metrics(self):
        form = {"classification": self.classification, "box_variance": self.box_variance}
        self.loss_part_metrics = [
            keras.metrics.Mean(name=name)
            for name in ("classification_loss", "box_loss", "contrastive_loss", "coupling_loss")
        ]
        self.positive_metrics = [
            metrics.MeanHarmonicFactor("beta_r", **form),
            metrics.MeanHarmonicFactor("beta_c", **form),
            metrics.MeanScore(**form),
            metrics.InconsistencyCoefficient(name="inconsistency", **form),
        ]
        others = (*self.stages[:-1], *self.branches)
        self.other_losses = {x.name: keras.metrics.Mean(name=f"{x.name}_loss") for x in others}

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        jit_compile="auto",
        **settings,
    ):
        """As Keras's, with one loss that sees boxes and classes together.

        Args:
            optimizer: as Keras's.
            loss: a loss on the contract, such as `HarmonicDetLoss()`, the default. What it leaves
                `"auto"` is taken from the detector.
            loss_weights: must be None.
            metrics: must be None: AP is measured by a callback.
            weighted_metrics: must be None.
            jit_compile: as Keras's; on TensorFlow it must not be True.
            **settings: of `keras.Model.compile`.

        Raises:
            ValueError: for a loss that is not one, contradicts the detector or reduces otherwise
                than by the sum, and for what a detector cannot do.
        """
        loss = HarmonicDetLoss() if loss is None else loss
        check_loss(loss, self)
        for name, value in (
            ("loss_weights", loss_weights),
            ("metrics", metrics),
            ("weighted_metrics", weighted_metrics),
        ):
            if value:
                raise ValueError(
                    f"{type(self).__name__} has one loss, and metrics of its own: expected "
                    f"{name}=None; AP is measured by a callback. "
                    f"Received: {name}={value!r}"
                )
        if jit_compile is True and not self.supports_jit:
            raise ValueError(
                "XLA has no kernels for TensorFlow's NMS and sparse products: leave jit_compile at "
                '"auto", which compiles the loss alone. Received: jit_compile=True'
            )
        keras.Model.compile(
            self, optimizer=optimizer, loss=loss, jit_compile=jit_compile, **settings
        )

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

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
        total = nan_if_broken(truth)
        for stage in self.stages:
            lesson = stage.lesson(rows[stage.name], y_pred, truth, seed)
            total = total + self._stage_loss(stage, lesson, sample_weight)
        for branch in self.branches:
            terms = branch.loss_terms(rows, y_pred, truth, training)
            total = total + self._branch_loss(branch, *terms, sample_weight)
        if self.losses:
            total = total + ops.sum(ops.stack(self.losses)) / replica_count()
        return total

    def _stage_loss(self, stage, lesson, sample_weight):
        """The compiled loss, or for a stage that is not harmonised the standard one."""
        is_last = stage is self.last_stage
        loss = self.loss if is_last else self._loss_of(stage)
        if not isinstance(loss, JointLoss):
            return loss(lesson.y_true, lesson.y_pred, sample_weight)
        loss = loss.for_detector(stage.loss_settings)
        total, parts = loss.with_parts(lesson.y_true, lesson.y_pred, sample_weight)
        if is_last:
            self._update_metrics(parts)
        else:
            self._update_other_loss(stage, parts, lesson.count)
        if lesson.count is None:
            return total
        positives = ops.maximum(global_sum(ops.sum(parts.positive)), 1.0)
        return total * positives / ops.maximum(global_sum(lesson.count), 1.0)

    def _loss_of(self, stage):
        """The loss of an earlier stage, which has a form of its own."""
        if not (stage.harmonized and isinstance(self.loss, JointLoss)):
            return DetectionLoss()
        own = {"classification": "auto", "box_variance": "auto"}
        return type(self.loss).from_config({**self.loss.get_config(), **own})

    def _branch_loss(self, branch, terms, positive, sample_weight):
        """The mean of a branch's terms over the positives of the global batch."""
        terms, count = terms * positive, ops.sum(positive)
        update_mean(self.other_losses[branch.name], terms, count)
        if sample_weight is not None:
            terms = terms * ops.cast(sample_weight, "float32")[:, None]
        return ops.sum(terms) / ops.maximum(global_sum(count), 1.0)

    def _update_metrics(self, parts):
        sums = (parts.classification, parts.localization, parts.contrastive)
        sums = (*sums, parts.total - sum(sums))
        for metric, values in zip(self.loss_part_metrics, sums, strict=True):
            update_mean(metric, values, ops.sum(parts.positive))
        for metric in self.positive_metrics:
            metric.update_from_parts(parts)

    def _update_other_loss(self, stage, parts, count):
        count = ops.sum(parts.positive) if count is None else count
        update_mean(self.other_losses[stage.name], parts.total, count)


def check_loss(loss, model):
    """Raises ValueError unless a detector can be trained with a loss."""
    name = type(model).__name__
    if not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"Compile {name} with a loss that sees boxes and classes together, such as "
            f"loss=HarmonicDetLoss(). Received: loss={loss!r}"
        )
    if not isinstance(loss, JointLoss):
        return
    loss.for_detector(model.loss_settings)
    if loss.reduction != "sum":
        raise ValueError(
            f'{name} is trained with the sum (13) of its loss: expected reduction="sum". '
            f"Received: {type(loss).__name__}(reduction={loss.reduction!r})"
        )


def update_mean(metric, values, count):
    """Adds a part of the loss to a mean over the steps, so that the parts' means sum to the loss's.

    Args:
        metric: `keras.metrics.Mean`.
        values: tensor of any shape. Their sum over all replicas and `count` is the part.
        count: scalar. What this replica has of the number that the loss divides by.
    """
    share = ops.sum(values) / ops.maximum(global_sum(count), 1.0)
    metric.total.assign_add(ops.cast(share, metric.dtype))
    metric.count.assign_add(1 / replica_count())
