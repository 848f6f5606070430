"""From any source to a folder in the form of COCO, VOC or YOLO."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harmonic_tf.training.data.dataset import DetectionData
from harmonic_tf.training.data.formats.roles import SplitError
from harmonic_tf.training.data.load import load_data, require_outside
from harmonic_tf.training.data.problems import Problem
from harmonic_tf.training.data.writers.coco import write_coco
from harmonic_tf.training.data.writers.placing import Placing
from harmonic_tf.training.data.writers.voc import write_voc
from harmonic_tf.training.data.writers.yolo import write_yolo

WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


class Converted(NamedTuple):
    """What was written.

    Attributes:
        splits: dict. Name of a split -> its DetectionData.
        lost: list of str. What the form cannot say.
        problems: list of Problem. What of the source could not be used, and was not written.
        unread: list of str. What else stands in the source's annotations, and was not carried over.
    """

    splits: dict[str, DetectionData]
    lost: list[str]
    problems: list[Problem]
    unread: list[str]


def convert(
    spec: str,
    form: str,
    output: str | Path,
    split: str | None = None,
    images: str = "link",
    val_fraction: float | None = None,
    val_seed: int = 0,
) -> Converted:
    """Writes a source as a folder that `load_data` reads in that form.

    A source without splits becomes train and val, the parts that `load_data` takes of it.

    Args:
        spec: str. As for `load_data`.
        form: str. "coco", "voc" or "yolo".
        output: str or Path. A folder that is empty or not there, outside of the source.
        split: str or None. Only this one, not parted. None: all.
        images: str. "link" makes links to files where that can be, "copy" copies of all images.
        val_fraction, val_seed: as of `load_data`.

    Returns:
        Converted.

    Raises:
        ValueError: the source or a split is not there, or the folder cannot be taken.

    Example:
        >>> converted = convert("shapes:train=4,val=2", "coco", "shapes_as_coco")
        >>> {split: len(data) for split, data in converted.splits.items()}
        {'train': 4, 'val': 2}
        >>> len(load_data("coco:shapes_as_coco"))
        4
    """
    for value, name, allowed in ((form, "form", WRITERS), (images, "images", ("link", "copy"))):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; received {value!r}.")
    output = Path(output).expanduser()
    require_outside(spec, output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output}: expected a folder that is empty or not there.")
    parting = {"val_fraction": val_fraction, "val_seed": val_seed}
    if split is None:
        splits, unread = _all_splits(spec, parting, form)
    else:
        data = load_data(spec, split=split)
        splits, unread = {split: data}, _unread(data, form)
    lost = []
    if form != "voc":
        splits, joined = _without_joined(splits)
        lost += joined
    place = Placing(splits.values(), linked=images == "link", by_objects=form == "voc")
    try:
        lost += WRITERS[form](splits, output, place)
    except RecursionError:
        raise ValueError(f"{spec}: something in it is nested too deeply to be written.") from None
    if place.renamed:
        lost.append(f"names of images ({place.renamed})")
    for name, data in splits.items():
        if data.clipped:
            lost.append(f"{name}: what of boxes stands out of the image ({data.clipped})")
    problems = list(dict.fromkeys(p for data in splits.values() for p in data.problems))
    return Converted(splits, lost, problems, unread)


def _all_splits(spec: str, parting: dict, form: str) -> tuple[dict[str, DetectionData], list[str]]:
    """A source by its splits, with the same classes in each, and what is not carried over."""
    try:
        first = load_data(spec, **parting)
    except SplitError as error:  # none to train on, or several: here all are wanted
        if not error.splits:
            raise
        first = load_data(spec, split=error.splits[0])
    names = first.splits
    if first.split not in names:
        other = load_data(spec, "eval", class_names=first.class_names, **parting)
        if not names:
            return {data.split: data for data in (first, other)}, []
        parts = {"train": first, "val": other}
        return _numbered(parts, form == first.form == "coco"), _unread(first, form)
    found = {n: first if n == first.split else load_data(spec, split=n) for n in names}
    classes = tuple(dict.fromkeys(label for data in found.values() for label in data.class_names))
    found = {
        n: data if data.class_names == classes else load_data(spec, split=n, class_names=classes)
        for n, data in found.items()
    }
    return found, [f"{n}: {line}" for n, data in found.items() for line in _unread(data, form)]


def _unread(data: DetectionData, form: str) -> list[str]:
    found = data.unread | ({} if data.form == form else data.carried)
    return [f"{what} ({count})" for what, count in found.items()]


def _numbered(parts: dict[str, DetectionData], keeps_ids: bool) -> dict[str, DetectionData]:
    """Parts as splits of their own; ids that were places in the whole become those in the part."""
    ids = sorted(record.image_id for data in parts.values() for record in data.records)
    found = {}
    for name, data in parts.items():
        records = data.records
        if ids == list(range(len(ids))) and not keeps_ids:
            records = tuple(replace(record, image_id=n) for n, record in enumerate(records))
        found[name] = replace(data, split=name, records=records)
    return found


def _without_joined(splits: dict[str, DetectionData]) -> tuple[dict[str, DetectionData], list[str]]:
    """Splits without VOC's trainval where train and val hold all of it, and a line on that."""
    if not {"train", "val", "trainval"} <= set(splits):
        return splits, []
    whole, *halves = (set(splits[name].image_names) for name in ("trainval", "train", "val"))
    if whole - set.union(*halves):
        return splits, []
    kept = {name: data for name, data in splits.items() if name != "trainval"}
    return kept, [f"the split trainval, whose {len(whole)} images are those of train and val"]
