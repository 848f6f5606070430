"""How a Keras model is trained with one loss that sees boxes and classes together."""

import keras
from keras import ops

from harmonic_tf import metrics
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.losses.joint import JointLoss
from harmonic_tf.models.ground_truth import unpack_batch
from harmonic_tf.ops import global_sum, replica_count


class JointTraining:
    """What a Keras model with `loss_settings` needs to be trained with such a loss.

    Inherited before `keras.Model`. The constructor calls `_make_metrics`; `compute_loss` adds up
    `_compiled_loss`, `_other_loss` and `_layer_losses`.
    """

    def _make_metrics(self, others):
        form = {key: value for key, value in self.loss_settings.items() if key != "negative_ratio"}
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
        self.other_losses = {name: keras.metrics.Mean(name=f"{name}_loss") for name in others}

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
            jit_compile: as Keras's; not True where the model cannot.
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

    def make_train_function(self, force=False):
        """As Keras's. A step that makes the optimizer's variables would be traced twice."""
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, *args):
        return super().train_step(*args[:-1], unpack_batch(args[-1]))

    def test_step(self, *args):
        return super().test_step(*args[:-1], unpack_batch(args[-1]))

    def _compiled_loss(self, lesson, sample_weight, loss_settings):
        """The compiled loss of a `Lesson`, with what the detector asks for; updates the metrics."""
        if not isinstance(self.loss, JointLoss):
            return self.loss(lesson.y_true, lesson.y_pred, sample_weight)
        loss = self.loss.for_detector(loss_settings)
        total, parts = loss.with_parts(lesson.y_true, lesson.y_pred, sample_weight)
        sums = (parts.classification, parts.localization, parts.contrastive)
        sums = (*sums, parts.total - sum(sums))
        for metric, values in zip(self.loss_part_metrics, sums, strict=True):
            update_mean(metric, values, ops.sum(parts.positive))
        for metric in self.positive_metrics:
            metric.update_from_parts(parts)
        return _over_count(total, parts, lesson.count)

    def _other_loss(self, name, lesson, loss_settings, sample_weight, harmonized=False):
        """The loss of what the compiled loss does not judge, by its name in `other_losses`.

        It is the standard one, or if it is harmonised the compiled one in the form that fits.
        """
        loss = DetectionLoss()
        if harmonized and isinstance(self.loss, JointLoss):
            own = {"classification": "auto", "box_variance": "auto", "layout": None}
            loss = type(self.loss).from_config({**self.loss.get_config(), **own})
        loss = loss.for_detector(loss_settings)
        total, parts = loss.with_parts(lesson.y_true, lesson.y_pred, sample_weight)
        count = ops.sum(parts.positive) if lesson.count is None else lesson.count
        update_mean(self.other_losses[name], parts.total, count)
        return _over_count(total, parts, lesson.count)

    def _layer_losses(self):
        """The losses of layers, such as weight decay, of which each replica has its share."""
        return ops.sum(ops.stack(self.losses)) / replica_count() if self.losses else 0.0


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


def _over_count(total, parts, count):
    """A loss over the positives as one over `count`, of which each replica has its own."""
    if count is None:
        return total
    positives = ops.maximum(global_sum(ops.sum(parts.positive)), 1.0)
    return total * positives / ops.maximum(global_sum(count), 1.0)
