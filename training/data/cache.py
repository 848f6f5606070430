"""Arrays that are made once: kept in memory, or on disk for every later run that needs the same.

On disk they lie in a folder of the user's cache, named after all that they depend on. They are made
beside it, in a folder of the process's own that is renamed once it is whole: what is half-written,
by whomever, is never read.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harmonic_tf.training.data.headers import cache_file
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.files import write_json, writing_to
from harmonic_tf.training.locking import FolderInUse, claimed

#: To be raised when the same description stands for other numbers.
FORM = 2
ABOUT_FILE = "about.json"
WAIT_SECONDS = 0.5


def kept_arrays(
    kind: str,
    about: dict,
    specs: dict,
    fill: Callable,
    place: str,
    say: Callable = print,
) -> dict[str, np.ndarray]:
    """Arrays as `fill` makes them, or as an earlier run has left them on disk.

    Args:
        kind: str. What they are, for the folder's name and for messages: "images", "features".
        about: JSON-serialisable dict. All that the arrays' values depend on.
        specs: dict. Name -> (shape, dtype) of each array.
        fill: callable. Gets a dictionary of writable arrays and fills all of them.
        place: str. "memory" or "disk".
        say: callable. Told beforehand how many bytes go where.

    Returns:
        dict. Name -> array; those on disk are mapped into memory, and can only be read.

    Raises:
        UserError: what lies on disk is not what `about` says, or there is no room there or in
            memory.

    Example:
        >>> def count(arrays):
        ...     arrays["numbers"][:] = range(3)
        >>> specs = {"numbers": ((3,), "int32")}
        >>> kept_arrays("numbers", {"step": 1}, specs, count, "memory")["numbers"].tolist()
        numbers: 12 bytes in memory
        [0, 1, 2]
    """
    size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in specs.values())
    if place == "memory":
        if size > _memory():
            raise UserError(
                f"{kind}: {byte_count(size)} are needed and this machine has "
                f"{byte_count(_memory())} of memory; keep them on disk (--cache disk), or fewer"
            )
        say(f"{kind}: {byte_count(size)} in memory")
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in specs.items()}
        fill(arrays)
        return arrays
    about = json.loads(json.dumps({"form": FORM, "kind": kind, **about}))
    folder = cache_folder(kind, about)
    is_waiting = False
    while not folder.exists():
        try:
            with claimed(folder.with_name(f"{folder.name}.making")) as making:
                if not folder.exists():
                    say(f"{kind}: {byte_count(size)} in {folder}")
                    _make(folder, making, about, specs, fill, size)
                    return _read(folder, about, specs)
        except FolderInUse:
            if not is_waiting:
                say(f"{kind}: another run is making them in {folder}")
            is_waiting = True
            time.sleep(WAIT_SECONDS)
    say(f"{kind}: kept in {folder}")
    return _read(folder, about, specs)


def cache_folder(kind: str, about: dict) -> Path:
    """Where arrays of such a description are kept, in the user's cache folder."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return cache_file().parent / f"{kind}-{key}"


def byte_count(size: int) -> str:
    """A number of bytes for people.

    Example:
        >>> byte_count(12), byte_count(754_000_000), byte_count(3_610_000_000)
        ('12 bytes', '754 MB', '3.6 GB')
    """
    if size < 1e6:
        return f"{size} bytes"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _memory():
    """Bytes of memory that this machine has; infinity where the system does not say."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _make(folder, making, about, specs, fill, size):
    for left in filter(Path.is_dir, making.iterdir()):  # by a process that was killed
        shutil.rmtree(left)
    free = shutil.disk_usage(making).free
    if free < size:
        raise UserError(
            f"{folder}: {byte_count(size)} are needed and {byte_count(free)} are free; make room, "
            "or set XDG_CACHE_HOME to a folder on another disk"
        )
    aside = making / str(os.getpid())
    try:
        with writing_to(folder):
            aside.mkdir()
            arrays = {
                name: np.lib.format.open_memmap(_file(aside, name), "w+", dtype, shape=tuple(shape))
                for name, (shape, dtype) in specs.items()
            }
            for name in specs:
                _reserve(_file(aside, name))
        fill(arrays)
        with writing_to(folder):
            for array in arrays.values():
                array.flush()
            write_json(aside / ABOUT_FILE, about)
            _read(aside, about, specs)
            os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _reserve(file):
    """Takes the file's room on disk now: a mapped file that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _read(folder, about, specs):
    try:
        there = json.loads((folder / ABOUT_FILE).read_text("utf-8"))
        if there != about:
            differing = [key for key in {**about, **there} if there.get(key) != about.get(key)]
            raise ValueError(f"made with another {' and '.join(differing)}")
        arrays = {name: np.load(_file(folder, name), mmap_mode="r") for name in specs}
        for name, (shape, dtype) in specs.items():
            found = (arrays[name].shape, arrays[name].dtype)
            if found != (tuple(shape), np.dtype(dtype)):
                raise ValueError(f"{name} is {found[1]} {found[0]}, not {dtype} {tuple(shape)}")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder} cannot be used: {error}. Remove that folder, to have it made anew"
        ) from error
    return arrays


def _file(folder, name):
    return folder / f"{name}.npy"
