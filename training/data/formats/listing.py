"""Finding the files of annotation tools: suffixes in any case, linked folders, nothing of macOS."""

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from harmonic_tf.training.data.validation import ProblemLog

# macOS writes ._a.jpg for a.jpg into archives and on disks of others.
NOT_DATA = "._"


def files_in(folder: Path, suffixes: Sequence[str], deep: bool = True) -> list[Path]:
    """The files of some kinds in a folder and in those inside of it, in the order of their paths.

    Links to folders are followed, once: they may lead back.

    Args:
        folder: Path. Where there is none, there are no files.
        suffixes: sequence of str, in lower case. Those of the files may be in any.
        deep: bool. False: those right inside of it only.
    """
    found, seen, waiting = [], set(), deque([str(folder)])
    while waiting:
        for place, folders, names in os.walk(waiting.popleft()):
            real = os.path.realpath(place)
            if real in seen or not deep:
                folders.clear()
            if real in seen:
                continue
            seen.add(real)
            inside = [os.path.join(place, name) for name in folders]
            waiting.extend(filter(os.path.islink, inside))
            found += [
                Path(place, name)
                for name in names
                if name.lower().endswith(tuple(suffixes)) and not name.startswith(NOT_DATA)
            ]
    return sorted(found)


def name_unlabelled(images: Sequence[Path], log: ProblemLog):
    """Notes how many images nobody has annotated yet, with the first of them."""
    if images:
        names = ", ".join(image.name for image in images[:3]) + (", ..." if images[3:] else "")
        log.notes.append(
            f"images without an annotation file are left out: {len(images)} ({names}); an "
            "annotation file without objects makes one an image without objects"
        )


def finder(suffixes: Sequence[str]) -> Callable[[Path], Path]:
    """A function: path without a suffix -> the file there; the path expected if there is none.

    Of several files, the one whose suffix stands first is taken. Folders are listed once.

    Args:
        suffixes: sequence of str, in lower case. Those of the files may be in any (`.Jpg`).
    """
    ranks = {suffix: rank for rank, suffix in enumerate(suffixes)}

    def rank(name: str) -> tuple[int, bool]:
        suffix = os.path.splitext(name)[1]
        return ranks[suffix.lower()], suffix.lower() != suffix

    @functools.cache
    def listed(folder: Path) -> dict[str, Path]:
        names = os.listdir(folder) if os.path.isdir(folder) else []
        names = [name for name in names if os.path.splitext(name)[1].lower() in ranks]
        names.sort(key=rank, reverse=True)
        return {os.path.splitext(name)[0]: folder / name for name in names}

    def find(place: Path) -> Path:
        expected = Path(f"{place}{suffixes[0]}")
        return listed(expected.parent).get(os.path.splitext(expected.name)[0], expected)

    return find
