"""What a run keeps of its state: the two newest checkpoints to go on from, and whole models."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmonic_tf.training.files import replacing, sweep

#: Of the files; a checkpoint of another form is refused.
FORM = 1
KEPT = 2

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.npz")


@dataclass(frozen=True)
class State:
    """A checkpoint as it was read.

    Attributes:
        path: Path. The file.
        about: dict. What was saved beside the variables.
        arrays: tuple of arrays. The variables' values.
        passed_over: tuple of str. Newer checkpoints that cannot be used, each with the reason.
    """

    path: Path
    about: dict
    arrays: tuple
    passed_over: tuple[str, ...]

    def restore(self, variables):
        """Gives variables their values back.

        Args:
            variables: list of tf.Variable. Those that were saved, in the same order.

        Raises:
            ValueError: If the checkpoint is of another model; nothing is changed then.
        """
        there = [(array.shape, str(array.dtype)) for array in self.arrays]
        wanted = [(tuple(v.shape), v.dtype.name) for v in variables]
        if there != wanted:
            differing = (i for i, (a, b) in enumerate(zip(there, wanted, strict=False)) if a != b)
            first = next(differing, min(len(there), len(wanted)))
            named = " and ".join(
                str(values[first]) if first < len(values) else "nothing"
                for values in (wanted, there)
            )
            raise ValueError(
                f"{self.path}: not a checkpoint of this model: expected and received at variable "
                f"{first + 1} of {len(wanted)}: {named}"
            )
        for variable, array in zip(variables, self.arrays, strict=True):
            variable.assign(array)


class Checkpoints:
    """The two newest states of a loop on disk, each in one file that is whole or not there.

    A file is NumPy's `.npz`, whose checksums tell a damaged one, named after its place in training.

    Args:
        folder: str or Path. Where they live.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def files(self) -> list:
        """The checkpoints' files, the newest first."""
        there = filter(Path.is_file, self.folder.glob("epoch-*.npz"))
        found = {file: _NAME.fullmatch(file.name) for file in there}
        places = {file: tuple(map(int, m.groups())) for file, m in found.items() if m}
        return sorted(places, key=places.get, reverse=True)

    def save(self, variables, epoch: int, step: int, about: dict) -> Path:
        """Writes the present values, then removes all but the two newest checkpoints.

        Args:
            variables: list of tf.Variable. What to keep, in an order that does not change.
            epoch: int. Number of epochs completed.
            step: int. Number of steps done after those.
            about: JSON-serialisable dict. What else to keep.

        Returns:
            Path. The file written.
        """
        head = json.dumps({"form": FORM, **about}, allow_nan=False).encode()
        arrays = [np.frombuffer(head, np.uint8), *(variable.numpy() for variable in variables)]
        path = self.folder / f"epoch-{epoch:04d}-step-{step:06d}.npz"
        with replacing(path) as aside, aside.open("wb") as file:
            np.savez(file, *arrays)
        for older in self.files()[KEPT:]:
            older.unlink(missing_ok=True)
        return path

    def newest(self) -> State | None:
        """Reads the newest checkpoint that can be used.

        Files that cannot be are removed once an older one took their place, and half-written
        ones at once.

        Returns:
            State, or None if there is no checkpoint at all.

        Raises:
            ValueError: If there are checkpoints, and none can be used; with each one's reason.
        """
        sweep(self.folder)
        damaged = {}
        for path in self.files():
            try:
                about, arrays = _read(path)
            except Exception as error:  # NumPy raises whatever the broken bytes lead it to.
                damaged[path] = f"{path.name} cannot be used ({error or type(error).__name__})"
                continue
            for other in damaged:
                other.unlink(missing_ok=True)
            return State(path, about, arrays, tuple(damaged.values()))
        if damaged:
            raise ValueError(f"{self.folder}: {'; '.join(damaged.values())}")
        return None


def save_model(model, path) -> Path:
    """Writes a detector, without its optimizer, as one `.keras` file, atomically.

    Args:
        model: keras.Model. Built; under a strategy or not.
        path: str or Path. The file to write, ending in `.keras`.

    Returns:
        Path. The file written.
    """
    alone = type(model).from_config(model.get_config())
    alone.set_weights(model.get_weights())
    with replacing(path) as aside:
        alone.save(aside)
    return Path(path)


def _read(path):
    if not zipfile.is_zipfile(path):
        raise ValueError("not a .npz file, or not all of one")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        head, *arrays = (content[f"arr_{index}"] for index in range(len(content.files)))
    about = json.loads(bytes(head))
    if not isinstance(about, dict) or about.get("form") != FORM:
        form = about.get("form") if isinstance(about, dict) else None
        raise ValueError(f"expected a checkpoint of form {FORM}; received {form!r}")
    return about, tuple(arrays)
