"""The classes of a trained model, kept beside it as `labels.json`."""

import json
import textwrap
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harmonic_tf.training.files import read_text, write_json

LABELS_FILE = "labels.json"
MODEL_FILE = "model.keras"


@dataclass(frozen=True)
class Labels:
    """What a model's class indices mean.

    Attributes:
        class_names: tuple of str. Class index -> name.
        category_ids: tuple of int. Class index -> id in results (COCO's ids are sparse).

    Example:

    >>> Labels(("cat", "dog"), (17, 18)).category_ids[1]
    18
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(str(name) for name in self.class_names))
        object.__setattr__(self, "category_ids", tuple(int(i) for i in self.category_ids))
        for field in ("class_names", "category_ids"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field} must not repeat; received {values}")
        if len(self.class_names) != len(self.category_ids):
            raise ValueError(
                f"expected one category id for each class; received {len(self.class_names)} names "
                f"and {len(self.category_ids)} ids"
            )

    @classmethod
    def numbered(cls, num_classes: int) -> "Labels":
        """Stand-ins for a model without labels: "class 0" with id 1, and so on."""
        return cls(
            tuple(f"class {index}" for index in range(num_classes)),
            tuple(range(1, num_classes + 1)),
        )

    @classmethod
    def of(cls, data) -> "Labels":
        """The labels of a data set, from its `class_names` and `category_ids`."""
        return cls(data.class_names, data.category_ids)


def write_labels(folder, labels: Labels) -> Path:
    """Writes `labels.json` into a run's folder.

    Args:
        folder: str or Path. The run's folder.
        labels: Labels. What to write.

    Returns:
        Path. The file written.
    """
    content = {"class_names": labels.class_names, "category_ids": labels.category_ids}
    return write_json(Path(folder) / LABELS_FILE, content)


def read_labels(folder) -> Labels:
    """Reads `labels.json` from a run's folder.

    Args:
        folder: str or Path. The run's folder.

    Returns:
        Labels.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not of the form that `write_labels` writes.
    """
    path = Path(folder) / LABELS_FILE
    try:
        content = json.loads(read_text(path))
        names, ids = content["class_names"], content["category_ids"]
        if not isinstance(names, list) or not isinstance(ids, list):
            raise TypeError("expected two lists")
        return Labels(names, ids)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f'{path}: expected {{"class_names": [...], "category_ids": [...]}}; {error!r}'
        ) from error


def located(path) -> Path:
    """The path itself, or the folder of the detector that comes with the package by that name.

    A model of the user's by that name comes first; another folder, such as one of data, does not.
    """
    from harmonic_tf.models.pretrained import pretrained_folder

    path = Path(path)
    is_here = path.is_file() or (path / MODEL_FILE).is_file()
    return path if is_here else pretrained_folder(str(path)) or path


def model_file(path) -> Path:
    """The model's file, given a run's folder, the file itself or the name of a detector of ours.

    Args:
        path: str or Path. A folder that holds `model.keras`, a `.keras` file, or, where it is
            neither, the name of one of `harmonic_tf.models.pretrained`.

    Returns:
        Path. An existing file.

    Raises:
        FileNotFoundError: If there is no such path, or no model in the folder.
    """
    path = located(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such run or model file")
    if not path.is_dir():
        return path
    file = path / MODEL_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{path}: expected a run's folder with {MODEL_FILE} in it")
    return file


def is_model(path) -> bool:
    """Whether a path is to be a model, by its name and its files' names alone."""
    path = located(path)
    return path.suffix == ".keras" or any(
        (path / name).exists() for name in (MODEL_FILE, LABELS_FILE, "recipe.yaml")
    )


def load_model_and_labels(path):
    """Loads a trained detector and what its classes mean.

    Args:
        path: str or Path. As for `model_file`.

    Returns:
        Tuple of the model (not compiled) and its `Labels`. A file with no `labels.json` beside it
        gives None for the labels.

    Raises:
        FileNotFoundError: If there is no such path, or no model in the folder.
        ValueError: If the file is no detector of ours, or its labels do not fit it.

    Example:

    ```python
    model, labels = load_model_and_labels("runs/shapes")
    ```
    """
    import keras

    import harmonic_tf.models  # noqa: F401, so that Keras finds their classes

    file = model_file(path)
    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file}: not a Keras model, or not all of one")
    try:
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras raises whatever the broken bytes lead it to.
        reason = textwrap.shorten(str(error), 300)
        raise ValueError(f"{file}: not a Keras model that can be loaded: {reason}") from error
    if not hasattr(model, "decode_predictions"):
        raise ValueError(
            f"{file}: expected a detector of harmonic_tf.models; received a {type(model).__name__}"
        )
    if not (file.parent / LABELS_FILE).is_file():
        return model, None
    labels = read_labels(file.parent)
    if len(labels.class_names) != model.num_classes:
        raise ValueError(
            f"{file.parent / LABELS_FILE}: names {len(labels.class_names)} classes; "
            f"{file.name} has {model.num_classes}"
        )
    return model, labels
