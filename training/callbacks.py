"""What happens at the end of an epoch, in this order: evaluate, log, keep the best, save."""

import csv
import io
import math
import time

import keras
import tensorflow as tf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from harmonic_tf.training.checkpoints import save_model
from harmonic_tf.training.console import line_console
from harmonic_tf.training.files import write_bytes
from harmonic_tf.training.progress import duration


class EvaluateEvery(keras.callbacks.Callback):
    """Evaluates every n epochs and after the last, and adds AP, ... AIC to the epoch's logs.

    Args:
        evaluate: callable without arguments that returns an `Evaluation`.
        every: int. Epochs between evaluations.
    """

    def __init__(self, evaluate, every):
        super().__init__()
        self._evaluate = evaluate
        self._every = every

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        if done % self._every == 0 or done == self.params["epochs"]:
            metrics = self._evaluate().metrics
            logs.update({k: math.nan if v is None else v for k, v in metrics.items()})


class History(keras.callbacks.Callback):
    """Keeps the logs of all epochs in a CSV file; a cell is empty where there is no number.

    `seconds` are an epoch's of wall time, `processor_seconds` those of all cores together.

    Args:
        path: Path. The file.
        rows: list of dict. As `rows`, of the epochs already completed. Defaults to none.

    Attributes:
        rows: list of dict. Column -> number, one for each epoch.
    """

    def __init__(self, path, rows=()):
        super().__init__()
        self._path = path
        self.rows = list(rows)

    def on_train_begin(self, logs=None):
        if self.rows:
            self._write()

    def on_epoch_begin(self, epoch, logs=None):
        self._started = _clocks()

    def on_epoch_end(self, epoch, logs=None):
        took = {name: round(now - self._started[name], 2) for name, now in _clocks().items()}
        numbers = {key: value for key, value in logs.items() if math.isfinite(value)}
        self.rows.append({"epoch": epoch + 1, **took, **numbers})
        self._write()

    def _write(self):
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self._path, text.getvalue().encode())

    def best(self, column):
        """The largest number in a column so far, -inf if there is none."""
        return max((row[column] for row in self.rows if column in row), default=-math.inf)


def _clocks():
    return {"seconds": time.monotonic(), "processor_seconds": time.process_time()}


class KeepBest(keras.callbacks.Callback):
    """Writes the model whenever an evaluation gives it the highest AP so far.

    Args:
        path: Path. The `.keras` file to write.
        best: float. The AP to surpass.
    """

    def __init__(self, path, best):
        super().__init__()
        self._path = path
        self._best = best

    def on_epoch_end(self, epoch, logs=None):
        if logs.get("AP", -math.inf) > self._best:
            self._best = logs["AP"]
            save_model(self.model, self._path)


class SaveState(keras.callbacks.Callback):
    """Saves the state to go on from after every epoch, and within one that takes long.

    Args:
        save: callable without arguments.
        minutes: float. Longest time between two.
    """

    def __init__(self, save, minutes):
        super().__init__()
        self._save = save
        self._seconds = 60 * minutes

    def on_train_begin(self, logs=None):
        self._saved = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self._saved >= self._seconds:
            self.on_epoch_end(None)

    def on_epoch_end(self, epoch, logs=None):
        self._save()
        self._saved = time.monotonic()


class TensorBoardLog(keras.callbacks.Callback):
    """Writes the logs of each epoch for TensorBoard.

    Args:
        folder: Path. Where the event files go.
    """

    def __init__(self, folder):
        super().__init__()
        self._folder = folder

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(str(self._folder))

    def on_epoch_end(self, epoch, logs=None):
        with self._writer.as_default(step=epoch + 1):
            for name, value in logs.items():
                kind = "eval" if name.startswith(("A", "segm_")) else "train"
                tf.summary.scalar(f"{kind}/{name}", value)
        self._writer.flush()

    def on_train_end(self, logs=None):
        self._writer.close()


class ProgressReport(keras.callbacks.Callback):
    """One line for each epoch; on a terminal, a bar over its steps below.

    Args:
        console: rich.console.Console or None. Defaults to `None`, standard output.
    """

    def __init__(self, console=None):
        super().__init__()
        self._console = console or line_console()
        self._bar = None

    def on_train_begin(self, logs=None):
        self._begun, self._first = time.monotonic(), None

    def on_epoch_begin(self, epoch, logs=None):
        self._first = epoch if self._first is None else self._first
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=self.params["steps"], epoch=epoch + 1, epochs=self.params["epochs"], loss=""
        )
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update(self._task, completed=batch + 1, loss=f"loss {logs['loss']:.3f}")
        if batch + 1 == self.params["steps"]:
            self._bar.stop()

    def on_epoch_end(self, epoch, logs=None):
        self._bar.stop()
        done, epochs = epoch + 1, self.params["epochs"]
        parts = [f"epoch {done:{len(str(epochs))}}/{epochs}", f"loss {logs['loss']:.3f}"]
        parts += [
            f"{name.removesuffix('_loss')} {value:.3f}"
            for name, value in logs.items()
            if name.endswith("_loss")
        ]
        shown = [name for name in ("AP", "AP50", "AP75", "segm_AP") if name in logs]
        parts += [Text(f"{name} {logs[name]:.1f}", "bold") for name in shown]
        pace = (time.monotonic() - self._begun) / (done - self._first)
        if done < epochs:
            parts.append(f"{duration(pace * (epochs - done))} left")
        line = Text("  ").join(Text(p) if isinstance(p, str) else p for p in parts)
        self._console.print(line)

    def on_train_end(self, logs=None):
        if self._bar:
            self._bar.stop()
