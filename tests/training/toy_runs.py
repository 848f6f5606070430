"""Short runs of a toy detector: their recipe, and what is read of their folders."""

import csv
import os
import signal

import keras

from harmonic_tf.training.recipe import Recipe

RECIPE = Recipe(
    data="shapes:train=12,val=4", epochs=3, batch_size=4, learning_rate=0.01, evaluate_every=2
)


class InterruptAfter(keras.callbacks.Callback):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps -= 1
        if self.steps == 0:
            os.kill(os.getpid(), signal.SIGINT)


def history(folder):
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def weights(path):
    return keras.saving.load_model(path).get_weights()


def checkpoints(folder):
    return sorted((folder / "checkpoints").iterdir())
