"""The training loop: `strategy.run` over a compiled step, carrying Keras callbacks.

`Model.fit` is not used: it clips gradients before the replicas are summed, and fails under
MultiWorkerMirroredStrategy in Keras 3.15. This loop does the same on one device and on many.
"""

import math
from contextlib import contextmanager

import keras
import tensorflow as tf

from harmonic_tf.training.errors import UserError

ADVICE = "A lower learning rate or a smaller clip norm usually helps."


class Loop:
    """Trains a compiled detector, from wherever its state says, in whole steps.

    Args:
        model: detector of harmonic_tf.models, built and compiled with its loss and `optimizer`
            under `strategy`. Its `compute_loss` returns this replica's part of the loss: the sum
            over the replicas is the loss (13) of the global batch.
        clip_norm: float. Longest gradient allowed, over all weights and replicas together.
        strategy: tf.distribute.Strategy or None. Defaults to `None`: one device.
        network: Keras model or None. What batches go into, and whose predictions the loss is of,
            such as the model's heads on feature maps. Defaults to `None`: the model, on images.

    Attributes:
        variables: list of tf.Variable. All that a stopped run needs to go on exactly: weights,
            random states, running metrics, optimizer, and the position in the data.

    Example:

    ```python
    model.compile(optimizer="adamw", loss=HarmonicDetLoss(**model.loss_settings))
    loop = Loop(model, clip_norm=10.0)
    finished = loop.run(train_batches(data, image_size=model.image_size), epochs=20)
    ```
    """

    def __init__(self, model, clip_norm, strategy=None, network=None):
        self.model = model
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._train_step = make_train_step(model, clip_norm, self.strategy, network)
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._step = tf.Variable(0, dtype=tf.int64)
        self._loss_sum = tf.Variable(0.0, dtype=tf.float64)

    @property
    def epoch(self) -> int:
        """Number of epochs completed."""
        return int(self._epoch)

    @property
    def step(self) -> int:
        """Number of steps done in the epoch after those."""
        return int(self._step)

    @property
    def variables(self):
        kept = [
            *self.model.variables,
            *self.model.metrics_variables,
            *self.model.optimizer.variables,
        ]
        return [*(v.value for v in kept), self._epoch, self._step, self._loss_sum]

    def run(self, batches, epochs, callbacks=(), should_stop=lambda: False) -> bool:
        """Trains until `epochs` are complete, or a stop is asked for.

        Callbacks are Keras's: `on_epoch_end` gets the means over the epoch of the loss and of
        the model's other metrics, and `learning_rate`; an earlier one may add to the logs that a
        later one reads. `on_train_batch_end` gets the mean loss so far. Setting
        `model.stop_training` ends training after the epoch, as in `fit`.

        Args:
            batches: callable. `batches(epoch)` is the tf.data.Dataset of one epoch, the same
                each time it is called; `batches.steps_per_epoch` is its length.
            epochs: int. Number of epochs in all, those already completed included.
            callbacks: sequence of keras.callbacks.Callback. Defaults to none.
            should_stop: callable returning bool. Asked after each step. Defaults to never.

        Returns:
            bool. Whether all epochs are complete, or a callback ended training.

        Raises:
            UserError: If the loss, or a weight after an epoch, is NaN or infinite; names the epoch,
                the step and, where it is known, the part.
        """
        callbacks = keras.callbacks.CallbackList(
            list(callbacks), model=self.model, epochs=epochs, steps=batches.steps_per_epoch
        )
        self.model.stop_training = False
        callbacks.on_train_begin()
        while self.epoch < epochs and not (self.model.stop_training or should_stop()):
            if not self._run_epoch(batches, callbacks, should_stop):
                break
        callbacks.on_train_end()
        return self.epoch >= epochs or self.model.stop_training

    def _run_epoch(self, batches, callbacks, should_stop):
        epoch, done = self.epoch, self.step
        if done == 0:
            self._loss_sum.assign(0.0)
            self.model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        dataset = self.strategy.experimental_distribute_dataset(batches(epoch).skip(done))
        for step, batch in enumerate(dataset, start=done):
            callbacks.on_train_batch_begin(step)
            loss = float(self._train_step(batch))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {loss} at epoch {epoch + 1}, step {step + 1} of "
                    f"{batches.steps_per_epoch}{self._broken_parts()}; training stops, since no "
                    f"weight survives that. {ADVICE}"
                )
            self._step.assign_add(1)
            self._loss_sum.assign_add(loss)
            callbacks.on_train_batch_end(step, {"loss": self._mean_loss()})
            if should_stop():
                return False
        self.require_finite()
        logs = self._epoch_logs()
        self._epoch.assign_add(1)
        self._step.assign(0)
        callbacks.on_epoch_end(epoch, logs)
        return True

    def require_finite(self):
        """Sees that weights and optimizer hold numbers, before they are saved.

        Raises:
            UserError: If one of them is NaN or infinite; names the epoch and the first of them.
        """
        for variable in (*self.model.variables, *self.model.optimizer.variables):
            value = tf.convert_to_tensor(variable.value)
            if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
                epoch = self.epoch + (self.step > 0)
                raise UserError(
                    f"{variable.path} became NaN or infinite in epoch {epoch}; training stops, "
                    f"and nothing of it is saved. {ADVICE}"
                )

    def _broken_parts(self):
        parts = self.model.get_metrics_result().items()
        broken = [name for name, value in parts if not math.isfinite(float(value))]
        broken = [name for name in broken if name.endswith("_loss")]
        return f", from {' and '.join(broken)}" if broken else ""

    def _mean_loss(self):
        return float(self._loss_sum) / max(self.step, 1)

    def _epoch_logs(self):
        rate = tf.convert_to_tensor(self.model.optimizer.learning_rate)
        parts = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        return {"learning_rate": float(rate), **parts, "loss": self._mean_loss()}


def make_train_step(model, clip_norm, strategy, network=None):
    """Compiles one step of training over all replicas.

    Gradients are summed over the replicas, then clipped by their global norm, then applied, so
    that a step on n replicas is the step on one. An optimizer's own `clipnorm` would clip each
    replica's part.

    Args:
        model: compiled detector, as for `Loop`.
        clip_norm: float. Longest gradient allowed.
        strategy: tf.distribute.Strategy.
        network: as for `Loop`.

    Returns:
        Function of a distributed batch `(images, {"boxes", "classes"})`, or of one whose first part
        `network` takes; returns the scalar loss of the global batch.
    """
    variables = model.trainable_variables
    tensors = [variable.value for variable in variables]

    def replica_step(batch):
        inputs, labels = batch
        images = inputs if network is None else None
        with tf.GradientTape() as tape:
            raw = (network or model)(inputs, training=True)
            loss = model.compute_loss(x=images, y=labels, y_pred=raw, training=True)
        gradients = tape.gradient(loss, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        replicas = tf.distribute.get_replica_context()
        gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        # In a replica Keras's optimizer sums the gradients once more: these are equal by now.
        count = float(replicas.num_replicas_in_sync)
        model.optimizer.apply([gradient / count for gradient in gradients], variables)
        return loss

    @tf.function(autograph=False)
    def train_step(batch):
        loss = strategy.run(replica_step, args=(batch,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, loss, axis=None)

    return train_step


@contextmanager
def enough_memory():
    """Takes what TensorFlow raises where there is none left for something that the user can mend.

    Raises:
        UserError: With the first line of TensorFlow's own reason.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        reason = error.message.splitlines()[0].rpartition("}} ")[-1]
        raise UserError(
            f"memory ran out: {reason}; a smaller batch_size or image_size takes less"
        ) from error
