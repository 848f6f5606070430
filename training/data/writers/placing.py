"""Where the images of a written folder lie, and what they are called there."""

import collections
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from harmonic_tf.training.data.dataset import DetectionData, Sample
from harmonic_tf.training.data.images import FORMATS, SUFFIXES

# What a file name may not hold on some system or in a list of names; and a space at its ends, or
# the dot of a hidden file.
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>:"|?*\\]')
ENDS = re.compile(r"^[\s.]|\s$")


class Placing:
    """Puts images into folders, under names that differ by more than case and suffix.

    The same image has the same name everywhere, but for a second mention in one split.

    Args:
        splits: iterable of DetectionData. All that will be placed.
        linked: bool. Makes links to files where that can be, else copies.
        by_objects: bool. The same image with other objects is another one: for forms that keep an
            image's objects under its name in all splits.

    Attributes:
        renamed: int. Images that have another name than in the source, folders aside.
    """

    def __init__(self, splits: Iterable[DetectionData], linked: bool, by_objects: bool):
        self.linked = linked
        self._keys: dict[int, tuple] = {}
        self._names: dict[tuple, str] = {}
        self._stems: set[str] = set()
        for data in splits:
            mentions: collections.Counter = collections.Counter()
            for sample in data.records:
                key = (sample.name, sample.digest, *(_told(sample) if by_objects else ()))
                self._keys[id(sample)] = (*key, mentions[key])
                mentions[key] += 1

    @property
    def renamed(self) -> int:
        return sum(Path(name).name != _path(key[0]).name for key, name in self._names.items())

    def __call__(self, sample: Sample, folder: Path) -> str:
        """Puts the image there; its path relative to that folder."""
        key = self._keys[id(sample)]
        if key not in self._names:
            self._names[key] = self._new_name(sample)
        name = self._names[key]
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(file):
            self._put(sample, file)
        return name

    def _new_name(self, sample: Sample) -> str:
        path = _path(sample.name)
        # labels/ takes the place of images/ in paths of YOLO.
        if path.is_absolute() or {"..", "images"} & set(path.parts):
            path = PurePosixPath(path.name)
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ""
        parts = str(path).removesuffix(suffix).split("/")
        stem = "/".join(ENDS.sub("_", FORBIDDEN.sub("_", part)) for part in parts)
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


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _told(sample: Sample) -> tuple:
    """What is told of an image's objects."""
    o = sample.objects
    return o.boxes.tobytes(), o.classes.tobytes(), o.difficult.tobytes(), o.crowd.tobytes()


def _suffix(sample: Sample) -> str:
    """That of the image's kind, for one whose name has none."""
    with Image.open(io.BytesIO(sample.stored()), formats=FORMATS) as image:
        return {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}.get(
            image.format, f".{image.format.lower()}"
        )
