"""The training loop: one step on two devices is one step on one; stopping and going on is exact."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from toy_detector import ToyBatches, compiled

from harmonic_tf.training.checkpoints import LastCheckpoint, save_model
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.loop import Loop, stop_on_interrupt


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.batches = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, logs))


def flat(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


def test_a_step_on_two_replicas_is_a_step_on_one():
    subprocess.run(
        [sys.executable, "-W", "error", "two_replicas.py"],
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def test_one_step_is_clipped_gradient_descent():
    model = compiled(keras.optimizers.SGD(1.0))
    before = flat(model)
    Loop(model, clip_norm=0.25).run(ToyBatches(steps_per_epoch=1), epochs=1)
    assert np.linalg.norm(flat(model) - before) == pytest.approx(0.25, rel=1e-4)


def test_an_epoch_reports_means_and_the_learning_rate():
    model, recorder = compiled(keras.optimizers.SGD(0.0)), Recorder()
    assert Loop(model, 1.0).run(ToyBatches(steps_per_epoch=3), epochs=2, callbacks=[recorder])
    assert [epoch for epoch, _ in recorder.epochs] == [0, 1]
    assert [step for step, _ in recorder.batches] == [0, 1, 2, 0, 1, 2]
    _, logs = recorder.epochs[0]
    losses = []
    for images, labels in ToyBatches(steps_per_epoch=3)(0):
        raw = model(images, training=True)
        losses.append(float(model.compute_loss(y=labels, y_pred=raw)))
    assert logs["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert recorder.batches[1][1] == pytest.approx(np.mean(losses[:2]), rel=1e-5)
    assert set(logs) == {"loss", "box_loss", "learning_rate"}
    assert logs["learning_rate"] == 0.0


def test_the_same_seed_gives_the_same_weights():
    results = []
    for _ in range(2):
        model = compiled(dropout=0.3)
        Loop(model, 1.0).run(ToyBatches(), epochs=2)
        results.append(flat(model))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path, stop_after):
    def loop():
        model = compiled(dropout=0.3, optimizer=keras.optimizers.AdamW(0.05))
        return Loop(model, 1.0)

    recorders = [Recorder(), Recorder()]
    whole = loop()
    assert whole.run(ToyBatches(), epochs=3, callbacks=recorders[:1])

    first, asked = loop(), []

    def should_stop():
        asked.append(1)
        return first.epoch * 3 + first.step >= stop_after

    assert not first.run(ToyBatches(), epochs=3, should_stop=should_stop)
    LastCheckpoint(tmp_path, first.variables).save()

    second = loop()
    checkpoint = LastCheckpoint(tmp_path, second.variables)
    assert checkpoint.restore()
    assert second.epoch * 3 + second.step == stop_after
    assert second.run(ToyBatches(), epochs=3, callbacks=recorders[1:])
    np.testing.assert_array_equal(flat(second.model), flat(whole.model))
    assert recorders[1].epochs == recorders[0].epochs[-len(recorders[1].epochs) :]


def test_a_half_written_checkpoint_is_not_loaded(tmp_path):
    loop = Loop(compiled(), 1.0)
    checkpoint = LastCheckpoint(tmp_path, loop.variables)
    assert not checkpoint.restore()
    loop.run(ToyBatches(), epochs=1)
    checkpoint.save()
    saved = flat(loop.model)
    (tmp_path / "last-2.data-00000-of-00001").write_bytes(b"half")
    other = Loop(compiled(seed=5), 1.0)
    assert LastCheckpoint(tmp_path, other.variables).restore()
    np.testing.assert_array_equal(flat(other.model), saved)
    assert other.epoch == 1


def test_only_the_newest_checkpoint_is_kept(tmp_path):
    loop = Loop(compiled(), 1.0)
    checkpoint = LastCheckpoint(tmp_path, loop.variables)
    for _ in range(3):
        checkpoint.save()
    assert [file.name for file in tmp_path.glob("*.index")] == ["last-3.index"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    LastCheckpoint(tmp_path, Loop(compiled(), 1.0).variables).save()
    other = Loop(compiled(num_classes=3), 1.0)
    with pytest.raises(ValueError, match="last-1: not a checkpoint of this model"):
        LastCheckpoint(tmp_path, other.variables).restore()


def test_a_nan_loss_stops_at_once_and_is_named():
    model = compiled()

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if (len(seen.epochs), batch) == (1, 1):
                model.convolution.bias.assign(np.full(7, np.nan))

    seen = Recorder()
    with pytest.raises(UserError, match="became nan at epoch 2, step 2 of 3"):
        Loop(model, 1.0).run(ToyBatches(), epochs=3, callbacks=[seen, Spoil()])
    assert len(seen.batches) == 4


def test_a_callback_can_end_training():
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    loop = Loop(compiled(), 1.0)
    assert loop.run(ToyBatches(), epochs=5, callbacks=[Enough()])
    assert loop.epoch == 2


def test_the_first_interrupt_asks_and_the_second_raises():
    with pytest.raises(KeyboardInterrupt):
        with stop_on_interrupt() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), signal.SIGINT)
            assert should_stop()
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_saved_model_holds_no_optimizer_and_predicts_the_same(tmp_path):
    loop = Loop(compiled(), 1.0)
    loop.run(ToyBatches(), epochs=1)
    path = save_model(loop.model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(path)
    images = next(iter(ToyBatches()(0)))[0]
    for key, value in loop.model(images).items():
        np.testing.assert_array_equal(loaded(images)[key], value)
    assert not loaded.compiled
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
