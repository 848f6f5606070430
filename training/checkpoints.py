"""What a run keeps of its state: the last checkpoint to go on from, and whole models."""

import os
from pathlib import Path

import tensorflow as tf


class LastCheckpoint:
    """The newest state of a loop, on disk; the one before is removed once it is complete.

    Args:
        folder: str or Path. Where the checkpoint lives.
        variables: list of tf.Variable. What to keep, in an order that does not change.
    """

    def __init__(self, folder, variables):
        self._checkpoint = tf.train.Checkpoint(variables=variables)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(folder), max_to_keep=1, checkpoint_name="last"
        )

    def save(self):
        """Writes the present values."""
        self._manager.save()

    def restore(self) -> bool:
        """Reads the newest complete checkpoint back into the variables.

        Returns:
            bool. Whether there was one.

        Raises:
            ValueError: If it is of another model.
        """
        path = self._manager.latest_checkpoint
        if path is None:
            return False
        try:
            self._checkpoint.restore(path).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(f"{path}: not a checkpoint of this model: {error}") from error
        return True


def save_model(model, path) -> Path:
    """Writes a detector, without its optimizer, as one `.keras` file, atomically.

    Args:
        model: keras.Model. Built; under a strategy or not.
        path: str or Path. The file to write, ending in `.keras`.

    Returns:
        Path. The file written.
    """
    path = Path(path)
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    alone = type(model).from_config(model.get_config())
    alone.set_weights(model.get_weights())
    try:
        alone.save(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
