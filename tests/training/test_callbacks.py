"""What happens at the end of an epoch."""

import io
import math
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf
from rich.console import Console
from toy_detector import ToyBatches, compiled

from harmonic_tf.training import callbacks
from harmonic_tf.training.callbacks import (
    EvaluateEvery,
    History,
    KeepBest,
    ProgressReport,
    SaveState,
    TensorBoardLog,
    duration,
)
from harmonic_tf.training.loop import Loop


def run_epochs(in_order, logs, epochs=None):
    """Calls the callbacks as a loop would; `logs` has one dict for each epoch."""
    in_order = keras.callbacks.CallbackList(
        in_order, model=compiled(), epochs=epochs or len(logs), steps=1
    )
    for epoch, values in enumerate(logs):
        in_order.on_epoch_begin(epoch)
        in_order.on_epoch_end(epoch, values)


@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (10, 3, [3])]
)
def test_evaluation_is_due_every_n_epochs_and_at_the_end(every, epochs, expected, tmp_path):
    count = iter(range(100))
    evaluate = EvaluateEvery(lambda: SimpleNamespace(metrics={"AP": 1.0 * next(count)}), every)
    history = History(tmp_path / "history.csv")
    run_epochs([evaluate, history], [{"loss": 1.0} for _ in range(epochs)])
    assert [row["epoch"] for row in history.rows if "AP" in row] == expected
    assert history.rows[-1]["AP"] == len(expected) - 1.0


def test_history_leaves_a_cell_empty_where_there_is_no_number(tmp_path):
    path = tmp_path / "history.csv"
    history = History(path)
    run_epochs([history], [{"loss": 2.5}, {"loss": 1.5, "AP": math.nan}, {"loss": 0.5, "AP": 7.0}])
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["epoch", "seconds", "processor_seconds", "loss", "AP"]
    assert [(row[0], *row[3:]) for row in rows[1:]] == [
        ("1", "2.5", ""), ("2", "1.5", ""), ("3", "0.5", "7.0"),
    ]  # fmt: skip
    assert history.best("AP") == 7.0
    assert history.best("AP50") == -math.inf


def test_history_goes_on_after_the_rows_that_it_is_given_whatever_the_file_holds(tmp_path):
    path = tmp_path / "history.csv"
    before = History(path)
    run_epochs([before], [{"loss": 3.0, "AP": 1.0}, {"loss": 2.0}, {"loss": 1.0}])
    whole = path.read_text()
    for damaged in (b"", b"\xff\x00binary", b"epoch,loss\n1,much\n"):
        path.write_bytes(damaged)
        History(path, before.rows).on_train_begin()
        assert path.read_text() == whole
    history = History(path, before.rows[:2])
    assert history.best("AP") == 1.0
    history.on_epoch_begin(2)
    history.on_epoch_end(2, {"loss": 9.0})
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert lines[0] == "epoch,seconds,processor_seconds,AP,loss"
    assert lines[3].startswith("3,") and lines[3].endswith(",,9.0")


def test_the_state_is_saved_after_an_epoch_and_within_a_long_one(monkeypatch):
    clock = iter([0, 50, 61, 61, 100, 100, 155, 161, 161])
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(clock))
    calls = []
    state = SaveState(lambda: calls.append(step), minutes=1)
    state.on_train_begin()
    for step in (1, 2):
        state.on_train_batch_end(step)
    assert calls == [2]
    state.on_epoch_end(0)
    assert calls == [2, 2]


def test_a_nan_is_never_the_best(tmp_path):
    path = tmp_path / "best.keras"
    run_epochs([KeepBest(path, 5.0)], [{"AP": math.nan}, {}, {"AP": 5.0}])
    assert not path.exists()
    run_epochs([KeepBest(path, 5.0)], [{"AP": 5.1}])
    assert path.exists()


def test_without_a_terminal_each_epoch_is_one_line():
    text = io.StringIO()
    report = ProgressReport(Console(file=text, soft_wrap=True))
    Loop(compiled(), 1.0).run(ToyBatches(), epochs=2, callbacks=[report])
    first, second = text.getvalue().splitlines()
    assert first.startswith("epoch 1/2  loss ") and " box " in first and first.endswith(" left")
    assert second.startswith("epoch 2/2  loss ") and "left" not in second


def test_the_ap_of_masks_is_reported_as_an_evaluation(tmp_path):
    class Evaluated(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs.update(AP=31.0, segm_AP=29.0)

    text = io.StringIO()
    report = ProgressReport(Console(file=text, soft_wrap=True))
    in_order = [Evaluated(), TensorBoardLog(tmp_path), report]
    Loop(compiled(), 1.0).run(ToyBatches(), epochs=1, callbacks=in_order)
    assert text.getvalue().rstrip().endswith("AP 31.0  segm_AP 29.0")
    (file,) = tmp_path.iterdir()
    events = tf.compat.v1.train.summary_iterator(str(file))
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"eval/AP", "eval/segm_AP", "train/loss"} <= tags


def test_an_epoch_that_was_stopped_at_its_last_step_ends_its_bar():
    text = io.StringIO()
    report = ProgressReport(Console(file=text, force_terminal=True, width=100))
    loop = Loop(compiled(), 1.0)
    loop.run(ToyBatches(), 1, [report], should_stop=lambda: loop.step == 3)
    assert loop.run(ToyBatches(), 2, [report])
    assert "epoch 2/2  loss" in text.getvalue()


def test_on_a_terminal_there_is_a_bar():
    text = io.StringIO()
    report = ProgressReport(Console(file=text, force_terminal=True, width=100))
    Loop(compiled(), 1.0).run(ToyBatches(), epochs=1, callbacks=[report])
    assert "3/3" in text.getvalue()
    assert "━" in text.getvalue()


def test_durations():
    assert [duration(s) for s in (0.4, 99, 101, 5999, 6001)] == [
        "0 s", "99 s", "2 min", "100 min", "1.7 h",
    ]  # fmt: skip
