"""The training loop: one step on two devices is one step on one; stopping and going on is exact."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_detector import ToyBatches, compiled

from harmonic_tf.models import PRESETS
from harmonic_tf.training.checkpoints import Checkpoints, save_model
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.loop import Loop, enough_memory


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.batches = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, logs))


def save(folder, loop, about=None):
    return Checkpoints(folder).save(loop.variables, loop.epoch, loop.step, about or {})


def flat(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


# Their sums over replicas are in the code of those at hand.
OTHERS = ["fsaf_tiny", *(x for x in PRESETS if x.endswith("_lite"))]
OTHERS = [pytest.param((x,), marks=pytest.mark.slow) for x in OTHERS]


@pytest.mark.parametrize("presets", [(), *OTHERS], ids=lambda x: " ".join(x) or "those at hand")
def test_a_step_on_two_replicas_is_a_step_on_one(presets):
    subprocess.run(
        [sys.executable, "-W", "error", "two_replicas.py", *presets],
        check=True,
        cwd=Path(__file__).parent,
        # One step each: not worth optimising what XLA compiles.
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
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
    save(tmp_path, first)

    second = loop()
    Checkpoints(tmp_path).newest().restore(second.variables)
    assert second.epoch * 3 + second.step == stop_after
    assert second.run(ToyBatches(), epochs=3, callbacks=recorders[1:])
    np.testing.assert_array_equal(flat(second.model), flat(whole.model))
    assert recorders[1].epochs == recorders[0].epochs[-len(recorders[1].epochs) :]


def test_the_two_newest_checkpoints_are_kept_with_what_is_said_about_them(tmp_path):
    loop = Loop(compiled(), 1.0)
    assert Checkpoints(tmp_path).newest() is None
    for epoch in range(9, 12):
        loop._epoch.assign(epoch)
        save(tmp_path, loop, {"history": [{"loss": 0.1}]})
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "epoch-0010-step-000000.npz", "epoch-0011-step-000000.npz",
    ]  # fmt: skip
    state = Checkpoints(tmp_path).newest()
    assert state.path.name.startswith("epoch-0011")
    assert state.about["history"] == [{"loss": 0.1}]
    assert not state.passed_over


# What zipfile and NumPy take for a password, another way of packing, and Python that has no end.
DAMAGED = {
    "locked": (b"PK\1\2-\3-\0\0", b"PK\1\2-\3-\0\1"),
    "packed": (b"PK\1\2-\3-\0\0\0\0\0", b"PK\1\2-\3-\0\0\0\x63\0"),
    "endless": (b", }", b",  "),
}


@pytest.mark.parametrize("damage", ["", "garbage", "truncated", "flipped", *DAMAGED])
def test_a_damaged_checkpoint_gives_way_to_the_older_one(tmp_path, damage):
    loop = Loop(compiled(), 1.0)
    older = save(tmp_path, loop)
    saved = flat(loop.model)
    loop.run(ToyBatches(), epochs=1)
    newer = save(tmp_path, loop)
    whole = newer.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"truncated": whole[: len(whole) // 2], "flipped": bytes(flipped)}
    damaged |= {name: whole.replace(*bytes_at, 1) for name, bytes_at in DAMAGED.items()}
    newer.write_bytes(damaged.get(damage, damage.encode()))
    (tmp_path / f".17.{newer.name}").write_bytes(b"half")
    folder = tmp_path / "epoch-0999-step-000000.npz"
    folder.mkdir()

    other = Loop(compiled(seed=5), 1.0)
    state = Checkpoints(tmp_path).newest()
    state.restore(other.variables)
    np.testing.assert_array_equal(flat(other.model), saved)
    (reason,) = state.passed_over
    assert reason.startswith(f"{newer.name} cannot be used (") and "pickle" not in reason
    assert sorted(tmp_path.iterdir()) == [older, folder]

    older.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{tmp_path}: {older.name} cannot be used"):
        Checkpoints(tmp_path).newest()


@pytest.mark.parametrize("head", [50_000 * "[", "7", '{"form": 0}'], ids=["deep", "7", "form"])
def test_a_checkpoint_with_an_odd_head_is_named(tmp_path, head):
    path = tmp_path / "epoch-0001-step-000000.npz"
    np.savez(path, np.frombuffer(head.encode(), np.uint8))
    with pytest.raises(ValueError, match=f"{tmp_path}: {path.name} cannot be used"):
        Checkpoints(tmp_path).newest()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    save(tmp_path, Loop(compiled(), 1.0))
    other = Loop(compiled(num_classes=3), 1.0)
    state = Checkpoints(tmp_path).newest()
    with pytest.raises(ValueError, match=r"not a checkpoint of this model: .*8, 8, 3, 8.*3, 7"):
        state.restore(other.variables)


class Spoil(keras.callbacks.Callback):
    """Makes a weight NaN before a step, or after it."""

    def __init__(self, epoch, before=None, after=None):
        super().__init__()
        self.epoch, self.before, self.after = epoch, before, after

    def on_epoch_begin(self, epoch, logs=None):
        self.here = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.here, batch) == (self.epoch, self.before):
            self.model.convolution.bias.assign(np.full(7, np.nan))

    def on_train_batch_end(self, batch, logs=None):
        if (self.here, batch) == (self.epoch, self.after):
            self.model.convolution.bias.assign(np.full(7, np.inf))


def test_a_nan_loss_stops_at_once_and_is_named():
    seen = Recorder()
    with pytest.raises(UserError, match="became nan at epoch 2, step 2 of 3, from box_loss"):
        Loop(compiled(), 1.0).run(
            ToyBatches(), epochs=3, callbacks=[seen, Spoil(epoch=1, before=1)]
        )
    assert len(seen.batches) == 4


def test_weights_that_the_last_step_breaks_are_named_before_anything_is_saved():
    seen, loop = Recorder(), Loop(compiled(), 1.0)
    with pytest.raises(UserError, match="bias became NaN or infinite in epoch 2; "):
        loop.run(ToyBatches(), epochs=2, callbacks=[seen, Spoil(epoch=1, after=2)])
    assert len(seen.epochs) == 1


def test_a_learning_rate_that_overflows_is_found_after_one_step():
    loop = Loop(compiled(keras.optimizers.SGD(3e38, momentum=0.9)), 1e9)
    with pytest.raises(UserError, match="became NaN or infinite in epoch 1"):
        loop.run(ToyBatches(steps_per_epoch=1), epochs=1)


def test_a_callback_can_end_training():
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    loop = Loop(compiled(), 1.0)
    assert loop.run(ToyBatches(), epochs=5, callbacks=[Enough()])
    assert loop.epoch == 2


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


def of_the_machine():
    tf.zeros((1_000_000, 1_000_000, 64))


def of_a_step():
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nwith shape[9]")


@pytest.mark.parametrize(
    "run_out",
    [of_a_step, pytest.param(of_the_machine, marks=pytest.mark.slow)],  # TensorFlow waits 10 s
)
def test_memory_that_runs_out_is_one_sentence(run_out):
    with pytest.raises(
        UserError, match="memory ran out: OOM .* a smaller batch_size or image_size"
    ):
        with enough_memory():
            run_out()
