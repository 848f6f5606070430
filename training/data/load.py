"""From a source's name to its data."""

import contextlib
import dataclasses
import gc
import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats.coco import is_coco, load_coco
from harmonic_tf.training.data.formats.csv import is_csv, load_csv
from harmonic_tf.training.data.formats.labelme import is_labelme, load_labelme
from harmonic_tf.training.data.formats.roles import NAMES, roles_of
from harmonic_tf.training.data.formats.shapes import load_shapes
from harmonic_tf.training.data.formats.tfds import load_tfds
from harmonic_tf.training.data.formats.tfrecord import is_tfrecord, load_tfrecord
from harmonic_tf.training.data.formats.values import ANYWHERE, IMAGES, split_images
from harmonic_tf.training.data.formats.voc import is_voc, load_voc
from harmonic_tf.training.data.formats.yolo import is_yolo, load_yolo
from harmonic_tf.training.data.parts import VAL_FRACTION, part
from harmonic_tf.training.data.problems import BadDataError
from harmonic_tf.training.data.validation import ProblemLog


class Source(NamedTuple):
    """A data format.

    Attributes:
        load: its reader.
        argument: str. What stands behind its name and a colon.
        fits: function of a path, whether it looks like this format; None if it is no path.
    """

    load: Callable
    argument: str
    fits: Callable[[Path], bool] | None = None


SOURCES = {
    "shapes": Source(load_shapes, "OPTIONS"),
    "voc": Source(load_voc, "DIR", is_voc),
    "coco": Source(load_coco, "DIR", is_coco),
    "yolo": Source(load_yolo, "DIR", is_yolo),
    "labelme": Source(load_labelme, "DIR", is_labelme),
    "csv": Source(load_csv, "FILE", is_csv),
    "tfrecord": Source(load_tfrecord, "GLOB", is_tfrecord),
    "tfds": Source(load_tfds, "NAME"),
}
PLACES = ("DIR", "FILE", "GLOB")
MOST_NAMED = 5
FORMS = ", ".join(f"{name}:{source.argument}" for name, source in SOURCES.items())


def load_data(
    spec: str,
    role: str = "train",
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    on_bad_data: str = "skip",
    val_fraction: float | None = None,
    val_seed: int = 0,
) -> DetectionData:
    """Reads a source's annotations and checks its images, which the input pipeline decodes later.

    Args:
        spec: str. "shapes" (drawn, see `shapes.ShapesOptions` for options such as
            "shapes:train=100,classes=5"), a format and its place such as "voc:DIR", "coco:DIR",
            "yolo:DIR", "labelme:DIR", "csv:FILE", "tfrecord:GLOB" or "tfds:NAME", or the place
            alone, whose format is then found out.
        role: str. "train" or "eval": picks the split where none is named. A source without splits
            is parted by what is in its images (`parts.part`).
        split: str or None. The split's name in the source; "all" for all of one without splits.
        class_names: sequence of str or None. The classes in order; objects of another class are
            then bad data. By default the source's own. Give those of training to evaluation.
        on_bad_data: str. "skip" leaves unusable objects and images out and names each in
            `data.problems`; "error" raises one error with the whole list.
        val_fraction: float or None. How much is evaluated on of a source without splits (None:
            0.2), or of the training split of one that has no other.
        val_seed: int. Another one, other parts of such a source.

    Returns:
        DetectionData.

    Raises:
        ValueError: a spec, role or split that does not exist, a class that is no text or is asked
            for twice, or no image is left.
        BadDataError: with "error", if there is any problem; always, if the source cannot be read.

    Example:
        >>> data = load_data("shapes:train=20", role="train")
        >>> len(data), data.class_names
        (20, ('blob', 'ring', 'cross'))
    """
    asked, spec = spec, full_spec(spec)
    kind, _, argument = spec.partition(":")
    for value, name, allowed in (
        (role, "role", ("train", "eval")),
        (on_bad_data, "on_bad_data", ("skip", "error")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, received {value!r}.")
    place, _ = split_images(argument)
    if SOURCES[kind].fits and not place.exists() and not glob.glob(str(place)):
        raise ValueError(f"{spec}: there is no such file or folder.")
    read_as = role if val_fraction is None else "train"
    names = None if class_names is None else tuple(class_names)
    for name in names or ():
        if names.count(name) > 1:
            raise ValueError(f"class_names: {name!r} is named twice.")
    try:
        data = _read(spec, read_as, split, names, on_bad_data)
    except ValueError as error:
        hint = _hint(kind, place, argument)
        is_list = isinstance(error, BadDataError)
        if not hint or (is_list and on_bad_data == "error"):
            raise
        raise ValueError(f"{f'{spec} cannot be read.' if is_list else error} {hint}") from None
    if asked != spec:
        data = dataclasses.replace(data, notes=(f"{asked} is read as {kind}", *data.notes))
    return data if split is not None else _part_of(data, role, val_fraction, val_seed)


def _read(
    spec: str, role: str, split: str | None, names: tuple[str, ...] | None, on_bad_data: str
) -> DetectionData:
    """A split as its reader gives it, with what was found in it; arguments as of `load_data`."""
    kind, _, argument = spec.partition(":")
    problem_log = ProblemLog()
    with _without_garbage_collection():
        data = SOURCES[kind].load(argument, role, split, names, problem_log)
    data = dataclasses.replace(
        data,
        problems=tuple(problem_log.problems),
        clipped=problem_log.clipped,
        unread=dict(problem_log.unread),
        carried=dict(problem_log.carried),
        form=kind,
        other_classes=tuple(name for name, _ in problem_log.other_classes.most_common()),
        notes=tuple(problem_log.notes),
    )
    for name in data.class_names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ValueError(f"{spec}: the class {name!r} is no text.")
    if data.problems and (on_bad_data == "error" or not data.records):
        raise BadDataError(data.problems)
    if not data.records:
        raise ValueError(f"{spec}: split {data.split!r} holds no images.")
    return data


def _hint(kind: str, place: Path, argument: str) -> str:
    """What a place may be that could not be read as it was said to be; empty if it may."""
    fits = SOURCES[kind].fits
    if fits is None or not place.exists() or fits(place):
        return ""
    others = _fitting(place)
    specs = " or ".join(f"{other}:{argument}" for other in others)
    return f"It looks like {' and '.join(others)}: say {specs}." if others else _inside(place)


def _fitting(place: Path) -> list[str]:
    """The formats that a path looks like."""
    return [name for name, source in SOURCES.items() if source.fits and source.fits(place)]


def _inside(place: Path) -> str:
    """The data sets in the folders of a folder that is none, as a sentence."""
    inside = sorted(place.iterdir()) if place.is_dir() else []
    folders = [f for f in inside if f.is_dir() and os.access(f, os.R_OK | os.X_OK)]
    found = [
        f"{f.name} looks like {' and '.join(kinds)}" for f in folders if (kinds := _fitting(f))
    ]
    return f"In it {', '.join(found[:MOST_NAMED])}." if found else ""


@contextlib.contextmanager
def _without_garbage_collection():
    """Millions of objects are made, of which none is garbage: to look for some takes most time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _part_of(data: DetectionData, role: str, fraction: float | None, seed: int) -> DetectionData:
    """The role's part of data that has no split of its own for it, else all of it."""
    roles = roles_of(data.splits) if data.splits else list(NAMES)
    if fraction is not None and "eval" in roles:
        there = f"the splits {', '.join(data.splits)}" if data.splits else "such splits"
        raise ValueError(
            f"--val-fraction is for sources without splits, or with one to train on alone; "
            f"{data.name} has {there}: name the splits to use instead."
        )
    if roles and fraction is None:
        return data
    return part(data, role, VAL_FRACTION if fraction is None else fraction, seed)


def full_spec(spec: str) -> str:
    """A source's name with its format, which is found out where only a path is given.

    Raises:
        ValueError: no format fits, or several do.

    Example:
        >>> full_spec("shapes"), full_spec("voc:cells")
        ('shapes', 'voc:cells')
    """
    kind, _, argument = spec.partition(":")
    if kind in SOURCES and (argument or kind == "shapes"):
        return spec
    place, _ = split_images(spec)
    expected = f"Data must be shapes, one of {FORMS}, or a path alone"
    if not spec or kind in SOURCES:
        raise ValueError(f"{expected}; received {spec!r}.")
    if not os.path.exists(place):
        raise ValueError(f"{expected}; received {spec!r}, which is not there.")
    fitting = _fitting(place)
    if not fitting:
        text = f"{expected}; {spec} is there, but looks like none of them. {_inside(place)}"
        raise ValueError(text.strip())
    if len(fitting) > 1:
        raise ValueError(
            f"{spec} looks like {' and '.join(fitting)}: say "
            f"{' or '.join(f'{name}:{spec}' for name in fitting)}."
        )
    return f"{fitting[0]}:{spec}"


def require_outside(spec: str, output: str | Path):
    """Raises `ValueError` if a folder to write into is the source's, or lies in it."""
    kind, _, argument = full_spec(spec).partition(":")
    if SOURCES[kind].argument not in PLACES:
        return
    place, images = split_images(argument)
    output = Path(output).expanduser().resolve()
    for source in (place, *([Path(images)] if images and images != ANYWHERE else [])):
        source = source.expanduser().resolve()
        has_folder = source.is_file() or SOURCES[kind].argument == "GLOB"
        if output.is_relative_to(source) or (has_folder and output == source.parent):
            raise ValueError(
                f"{output} lies in the source, into which nothing is written: name another folder "
                "by --output."
            )


def absolute_spec(spec: str) -> str:
    """A source's name that means the same in every folder; what is kept with a run.

    Example:
        >>> absolute_spec("shapes:train=20"), absolute_spec("voc:/data/../bccd")
        ('shapes:train=20', 'voc:/bccd')
    """
    kind, _, argument = full_spec(spec).partition(":")
    if SOURCES[kind].argument not in PLACES:
        return spec
    place, images = split_images(argument)
    at = f"{IMAGES}{images if images == ANYWHERE else _absolute(images)}" if images else ""
    return f"{kind}:{_absolute(place)}{at}"


def _absolute(path) -> str:
    return os.path.abspath(os.path.expanduser(path))
