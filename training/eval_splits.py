"""Several splits to evaluate on: their names in a recipe, and their folders in a run."""

import re
from pathlib import Path

from harmonic_tf.training.errors import UserError

SPLITS = "splits"


def split_names(text: str | None) -> list:
    """The splits that `eval_split` names; None is the source's own.

    Raises:
        UserError: If one is named twice, or has no name.

    Example:

    >>> split_names("test,test_crowd"), split_names(None)
    (['test', 'test_crowd'], [None])
    """
    if text is None:
        return [None]
    names = [name.strip() for name in text.split(",")]
    if len({split_folder("", name) for name in names}) != len(names) or "" in names:
        raise UserError(f"eval_split: expected different names of splits; received {text!r}")
    return names


def split_folder(folder, split: str) -> Path:
    """Where a run keeps what was measured on a further split.

    Example:

    >>> split_folder("runs/cells", "test[:10%]").as_posix()
    'runs/cells/splits/test_10'
    """
    return Path(folder) / SPLITS / re.sub(r"[^\w.-]+", "_", split).strip("._")
