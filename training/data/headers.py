"""Headers of many images: checked in parallel, with a progress bar, and remembered.

What was found out about a file is kept in the user's cache folder under its path, size and time of
change, so that the next process need not decode it again. Nothing is written beside the data.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import PIL

from harmonic_tf.training.data.images import Header, read_header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.progress import progress_bar

# To be raised when `read_header` finds out something else; another Pillow may decode other files.
VERSION = f"2-pillow-{PIL.__version__}"
WORKERS = min(16, 2 + (os.cpu_count() or 1))
WAITING = 4 * WORKERS
BAR_AFTER = 1.0
SAVE_EVERY = 1000
LOCK_SECONDS = 10
MOST_ROWS = 1_000_000


def read_headers(files: Sequence[Path]) -> list[Header | Unusable]:
    """What `read_header` returns or raises for each file, in their order.

    Args:
        files: sequence of Path.

    Returns:
        list of Header, or Unusable where the file cannot be used.
    """
    stamps = [stamp_of(file) for file in files]
    with HeaderCache() as cache:
        known = cache.find(files, stamps)
        missing = [index for index, header in enumerate(known) if header is None]
        checked = in_parallel(try_header, [files[index] for index in missing], len(missing))
        fresh = []
        for index, header in zip(missing, checked, strict=True):
            known[index] = header
            if isinstance(header, Header):
                fresh.append((files[index], stamps[index], header))
            if len(fresh) == SAVE_EVERY:
                cache.add(fresh)
                fresh = []
        cache.add(fresh)
    return known


def stamp_of(file: Path) -> tuple[int, int] | None:
    """A file's size and time of change in nanoseconds; None if there is no such file."""
    try:
        status = file.stat()
    except (OSError, ValueError):  # ValueError: no file can have such a name
        return None
    return status.st_size, status.st_mtime_ns


def try_header(encoded: Path | bytes) -> Header | Unusable:
    """What `read_header` returns or raises."""
    try:
        return read_header(encoded)
    except Unusable as error:
        return error


def in_parallel(function: Callable, items: Iterable, total: int) -> Iterator:
    """The function's results in the items' order; after a second with a progress bar.

    Items are taken when their turn comes, a few ahead. What Pillow warns of is not shown: an image
    is used or is named as a problem.
    """
    items, waiting, done = iter(items), collections.deque(), 0
    started = time.monotonic()
    bar = progress_bar(True)
    task = bar.add_task("check images", total=total)
    pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while True:
                for item in itertools.islice(items, WAITING - len(waiting)):
                    waiting.append(pool.submit(function, item))
                if not waiting:
                    break
                result = waiting.popleft().result()
                done += 1
                bar.update(task, completed=done)
                if not bar.live.is_started and time.monotonic() - started > BAR_AFTER:
                    bar.start()
                yield result
    finally:
        bar.stop()
        pool.shutdown(cancel_futures=True)


class HeaderCache:
    """Headers by path, size and time of change; where it cannot be kept, it is always empty."""

    def __init__(self):
        self._database = None
        with self._forgiving():
            file = cache_file()
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, timeout=LOCK_SECONDS)
            columns = "path blob primary key, stamp text, header text"
            self._database.execute(f"create table if not exists headers ({columns})")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._database is not None:
            self._database.close()

    def find(self, files: Sequence[Path], stamps: Sequence) -> list[Header | None]:
        """The known headers of files that have not changed since; None for the others."""
        found: list[Header | None] = [None] * len(files)
        if self._database is None:
            return found
        with self._forgiving():
            for index, (file, stamp) in enumerate(zip(files, stamps, strict=True)):
                row = self._database.execute(
                    "select stamp, header from headers where path = ?", (_key(file),)
                ).fetchone()
                if row is not None and stamp is not None and row[0] == json.dumps(stamp):
                    found[index] = Header(*json.loads(row[1]))
        return found

    def add(self, rows: Sequence[tuple]):
        """Keeps (file, stamp, header) of each row; of too many the oldest are forgotten."""
        if self._database is None:
            return
        values = [
            (_key(file), json.dumps(stamp), json.dumps(header)) for file, stamp, header in rows
        ]
        with self._forgiving(), self._database:
            self._database.executemany("insert or replace into headers values (?, ?, ?)", values)
            self._database.execute(
                "delete from headers where rowid <= (select max(rowid) from headers) - ?",
                (MOST_ROWS,),
            )

    @contextlib.contextmanager
    def _forgiving(self):
        """A cache that is locked, damaged or not writable is one that knows nothing."""
        try:
            yield
        except (sqlite3.Error, OSError, RuntimeError, ValueError, TypeError):
            self._database = None


def cache_file() -> Path:
    """Where headers are kept: in harmonic-tf of `$XDG_CACHE_HOME`, by default `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "harmonic-tf" / f"headers-{VERSION}.sqlite"


def _key(file: Path) -> bytes:
    """A path, also one whose name is in no encoding."""
    return os.fsencode(os.path.abspath(file))
