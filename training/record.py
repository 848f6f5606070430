"""What a run was started with and by whom it was continued, and whether that still holds."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from harmonic_tf.training.environment import described
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.files import read_text, write_json
from harmonic_tf.training.labels import Labels

RECORD_FILE = "run.json"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class Record:
    """What a run was started with; kept in `run.json` and in every checkpoint.

    Attributes:
        recipe: dict. The settings of the recipe, resolved.
        labels: dict. `class_names` and `category_ids`.
        data: dict. For `train` and `eval`: split, number of images and of objects, and a hash of
            the images' names and bytes, and of the objects' boxes, classes, flags and areas.
        sessions: list of dict. One for each start: when, at which place in training, with how many
            epochs in view, and the environment.
    """

    recipe: dict
    labels: dict
    data: dict
    sessions: list

    @classmethod
    def of(cls, recipe, train_data, eval_data) -> "Record":
        """That of a new run.

        Args:
            recipe: Recipe. Resolved.
            train_data: DetectionData.
            eval_data: DetectionData.
        """
        data = {"train": _fingerprint(train_data), "eval": _fingerprint(eval_data)}
        content = (dataclasses.asdict(recipe), dataclasses.asdict(Labels.of(train_data)), data)
        return cls(*(json.loads(json.dumps(part)) for part in content), sessions=[])

    @classmethod
    def read(cls, content) -> "Record":
        """From what `dataclasses.asdict` made of one.

        Raises:
            ValueError: If it is something else.
        """
        try:
            values = {field.name: content[field.name] for field in dataclasses.fields(cls)}
            for field in dataclasses.fields(cls):
                if not isinstance(values[field.name], field.type):
                    raise TypeError(f"{field.name}: expected a {field.type.__name__}")
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected the record of a run; {error!r}") from None

    def with_session(self, epoch, step, epochs, environment) -> "Record":
        """The same with one more start, at a place in training, with so many epochs in view."""
        session = {
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "epoch": epoch,
            "step": step,
            "epochs": epochs,
            **environment,
        }
        recipe = {**self.recipe, "epochs": epochs}
        return dataclasses.replace(self, recipe=recipe, sessions=[*self.sessions, session])

    def require_recipe(self, folder, recipe):
        """Sees that a recipe is the one that the run was started with.

        Raises:
            UserError: If it is another; names the setting.
        """
        for key, now in json.loads(json.dumps(dataclasses.asdict(recipe))).items():
            then = self.recipe.get(key, now)
            if now == then:
                continue
            extend = ", give more epochs by --extend-to" if key == "epochs" else ""
            file = Path(folder) / RECIPE_FILE
            raise UserError(
                f"{file}: {key} is {now!r}; the run was started with {then!r}. Put that back to "
                f"go on{extend}, or start anew: harmonic-tf train --config {file} --output OTHER"
            )

    def require_data(self, folder, train_data, eval_data):
        """Sees that data is what the run was started with: its classes, then all of it.

        Raises:
            UserError: If something is not; names the class, or what differs.
        """
        then, now = Labels(**self.labels), Labels.of(train_data)
        if then != now:
            gone = [name for name in then.class_names if name not in now.class_names]
            what = f"no longer has the class {gone[0]!r}" if gone else "has other classes"
            raise UserError(
                f"{train_data.name} {what} of {folder}: expected {_classes(then)}; received "
                f"{_classes(now)}. A run keeps its classes: mend the data, or start anew with "
                "another --output"
            )
        for role, data in (("train", train_data), ("eval", eval_data)):
            there, here = self.data[role], _fingerprint(data)
            for key in (key for key in here if here[key] != there.get(key)):
                changed = (
                    "other images, boxes, classes or flags than"
                    if key == "content"
                    else f"{key} {here[key]!r} instead of {there.get(key)!r}, which"
                )
                raise UserError(
                    f"{data.name} {data.split}, to {role} with, has {changed} {folder} was started "
                    "with; put that back to go on, or start anew with another --output"
                )


def write_record(folder, record: Record) -> Path:
    """Writes `run.json` into a run's folder."""
    return write_json(Path(folder) / RECORD_FILE, dataclasses.asdict(record))


def read_record(folder) -> Record | None:
    """Reads `run.json` from a run's folder.

    Args:
        folder: str or Path. The run's folder.

    Returns:
        Record, or None if there is no such file, as in runs of version 0.1.0.

    Raises:
        UserError: If it is not of the form that `write_record` writes.
    """
    path = Path(folder) / RECORD_FILE
    if not path.exists():
        return None
    try:
        return Record.read(json.loads(read_text(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not the record of a run: {error}") from error


def environments(folders) -> list:
    """The different environments that runs were made with, one line each.

    Args:
        folders: iterable of Path. Folders of runs; those without a `run.json` are passed over.

    Returns:
        List of str.
    """
    records = filter(None, map(read_record, folders))
    return list(dict.fromkeys(described(s) for record in records for s in record.sessions))


def _classes(labels):
    return ", ".join(
        f"{name!r} ({number})"
        for name, number in zip(labels.class_names, labels.category_ids, strict=True)
    )


def _fingerprint(data):
    content = hashlib.sha256()
    for record in data.records:
        content.update(f"{record.name}\n{record.digest}\n".encode("utf-8", "backslashreplace"))
        of = record.objects
        for values in (of.boxes, of.classes, of.difficult, of.crowd, of.area):
            content.update(values.tobytes())
    return {
        "split": data.split,
        "images": len(data),
        "objects": sum(len(record.objects) for record in data.records),
        "content": content.hexdigest(),
    }
