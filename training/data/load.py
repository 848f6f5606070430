"""From a source's name to its data."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats.coco import load_coco
from harmonic_tf.training.data.formats.shapes import load_shapes
from harmonic_tf.training.data.formats.tfds import load_tfds
from harmonic_tf.training.data.formats.voc import load_voc
from harmonic_tf.training.data.problems import BadDataError
from harmonic_tf.training.data.validation import ProblemLog


class Source(NamedTuple):
    """A data format: its reader, and what stands behind its name and a colon."""

    load: Callable
    argument: str


SOURCES = {
    "shapes": Source(load_shapes, "OPTIONS"),
    "voc": Source(load_voc, "DIR"),
    "coco": Source(load_coco, "DIR"),
    "tfds": Source(load_tfds, "NAME"),
}


def load_data(
    spec: str,
    role: str = "train",
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    on_bad_data: str = "skip",
) -> DetectionData:
    """Reads a source's annotations and checks its images, which the input pipeline decodes later.

    Args:
        spec: str. "shapes" (drawn, see `shapes.ShapesOptions` for options such as
            "shapes:train=100,classes=5"), "voc:DIR", "coco:DIR" or "tfds:NAME".
        role: str. "train" or "eval": picks the split where none is named.
        split: str or None. The split's name in the source.
        class_names: sequence of str or None. The classes in order; objects of another class are
            then bad data. By default the source's own. Give those of training to evaluation.
        on_bad_data: str. "skip" leaves unusable objects and images out and names each in
            `data.problems`; "error" raises one error with the whole list.

    Returns:
        DetectionData.

    Raises:
        ValueError: a spec, role or split that does not exist, or no image is left.
        BadDataError: with "error", if there is any problem; always, if the source cannot be read.

    Example:
        >>> data = load_data("shapes:train=20", role="train")
        >>> len(data), data.class_names
        (20, ('blob', 'ring', 'cross'))
    """
    kind, _, argument = spec.partition(":")
    if kind not in SOURCES or (kind != "shapes" and not argument):
        forms = ", ".join(f"{name}:{source.argument}" for name, source in SOURCES.items())
        raise ValueError(f"Data must be shapes or one of {forms}; received {spec!r}.")
    for value, name, allowed in (
        (role, "role", ("train", "eval")),
        (on_bad_data, "on_bad_data", ("skip", "error")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, received {value!r}.")
    problem_log = ProblemLog()
    names = None if class_names is None else tuple(class_names)
    data = dataclasses.replace(
        SOURCES[kind].load(argument, role, split, names, problem_log),
        problems=tuple(problem_log.problems),
        clipped=problem_log.clipped,
        other_classes=tuple(name for name, _ in problem_log.other_classes.most_common()),
    )
    if data.problems and (on_bad_data == "error" or not data.records):
        raise BadDataError(data.problems)
    if not data.records:
        raise ValueError(f"{spec}: split {data.split!r} holds no images.")
    return data


def absolute_spec(spec: str) -> str:
    """A source's name that means the same in every folder; what is kept with a run.

    Example:
        >>> absolute_spec("shapes:train=20"), absolute_spec("voc:/data/../bccd")
        ('shapes:train=20', 'voc:/bccd')
    """
    kind, _, argument = spec.partition(":")
    if kind not in SOURCES or SOURCES[kind].argument != "DIR" or not argument:
        return spec
    return f"{kind}:{os.path.abspath(Path(argument).expanduser())}"
