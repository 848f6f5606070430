"""From any source to a folder in the form of COCO, VOC or YOLO."""

import io
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from harmonic_tf.training.data.dataset import DetectionData, Sample
from harmonic_tf.training.data.images import FORMATS, SUFFIXES
from harmonic_tf.training.data.load import load_data, require_outside
from harmonic_tf.training.data.problems import Problem
from harmonic_tf.training.data.writers.coco import write_coco
from harmonic_tf.training.data.writers.voc import write_voc
from harmonic_tf.training.data.writers.yolo import write_yolo

WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
# What a file name may not hold on some system.
FORBIDDEN = str.maketrans(dict.fromkeys('<>:"|?*\\', "_"))


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
    lost += WRITERS[form](splits, output, _Placing(linked=images == "link"))
    problems = list(dict.fromkeys(p for data in splits.values() for p in data.problems))
    return Converted(splits, lost, problems, unread)


def _all_splits(spec: str, parting: dict, form: str) -> tuple[dict[str, DetectionData], list[str]]:
    """A source by its splits, with the same classes in each, and what is not carried over."""
    first = load_data(spec, **parting)
    names, classes = first.splits, first.class_names
    if first.split not in names:
        other = load_data(spec, "eval", class_names=classes, **parting)
        if not names:
            return {data.split: data for data in (first, other)}, []
        return _numbered({"train": first, "val": other}), _unread(first, form)
    found = {
        name: first if name == first.split else load_data(spec, split=name, class_names=classes)
        for name in names
    }
    return found, [f"{n}: {line}" for n, data in found.items() for line in _unread(data, form)]


def _unread(data: DetectionData, form: str) -> list[str]:
    found = data.unread | ({} if data.form == form else data.carried)
    return [f"{what} ({count})" for what, count in found.items()]


def _numbered(parts: dict[str, DetectionData]) -> dict[str, DetectionData]:
    """Parts as splits of their own; ids that were places in the whole become those in the part."""
    ids = sorted(record.image_id for data in parts.values() for record in data.records)
    found = {}
    for name, data in parts.items():
        records = data.records
        if ids == list(range(len(ids))):
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


class _Placing:
    """Puts images into folders, under names that differ by more than case and suffix.

    The same image has the same name everywhere.
    """

    def __init__(self, linked: bool):
        self.linked = linked
        self._names: dict = {}
        self._stems: set[str] = set()

    def __call__(self, sample: Sample, folder: Path) -> str:
        key = (sample.name, sample.digest)
        if key not in self._names:
            self._names[key] = self._new_name(sample)
        name = self._names[key]
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(file):
            self._put(sample, file)
        return name

    def _new_name(self, sample: Sample) -> str:
        path = PurePosixPath(sample.name.replace("\\", "/"))
        # labels/ takes the place of images/ in paths of YOLO.
        if path.is_absolute() or {"..", "images"} & set(path.parts):
            path = PurePosixPath(path.name)
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
        stem = str(path).removesuffix(suffix).translate(FORBIDDEN)
        suffix = suffix or _suffix(sample)
        name, number = stem, 1
        while name.lower() in self._stems:
            number += 1
            name = f"{stem}_{number}"
        self._stems.add(name.lower())
        return f"{name}{suffix}"

    def _put(self, sample: Sample, file: Path):
        if self.linked and isinstance(sample.encoded, Path):
            try:
                file.symlink_to(sample.encoded.resolve())
                return
            except OSError:  # a system, or a user, without links
                pass
        file.write_bytes(sample.stored())


def _suffix(sample: Sample) -> str:
    """That of the image's kind, for one whose name has none."""
    with Image.open(io.BytesIO(sample.stored()), formats=FORMATS) as image:
        return {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}.get(
            image.format, f".{image.format.lower()}"
        )
