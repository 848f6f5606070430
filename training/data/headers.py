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
# In bytes, on average: threads would wait for each other longer than such images take to decode.
SMALL = 50_000
BAR_AFTER = 1.0
SAVE_EVERY = 1000
LOCK_SECONDS = 10
# SQLite takes no more values in a query everywhere.
PER_QUERY = 999
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
        bytes_of_all = sum(stamps[index][0] for index in missing if stamps[index])
        look = map if bytes_of_all < SMALL * len(missing) else in_parallel
        checked = look(try_header, [files[index] for index in missing])
        fresh = []
        for index, header in zip(missing, shown(checked, len(missing)), strict=True):
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


def in_parallel(function: Callable, items: Iterable) -> Iterator:
    """The function's results in the items' order, which are taken a few ahead of their turn."""
    items, waiting = iter(items), collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
    try:
        while True:
            for item in itertools.islice(items, WAITING - len(waiting)):
                waiting.append(pool.submit(function, item))
            if not waiting:
                break
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def shown(checked: Iterable, total: int) -> Iterator:
    """What was found out about images, one by one; after a second with a progress bar.

    What Pillow warns of is not shown: an image is used or is named as a problem.
    """
    started = time.monotonic()
    bar = progress_bar(True)
    task = bar.add_task("check images", total=total)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for done, result in enumerate(checked, 1):
                if time.monotonic() - started > BAR_AFTER:
                    bar.start()
                    bar.update(task, completed=done)
                yield result
    finally:
        bar.stop()


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
        keys = [_key(file) for file in files]
        rows: dict[bytes, tuple] = {}
        with self._forgiving():
            for start in range(0, len(keys), PER_QUERY):
                some = keys[start : start + PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"select path, stamp, header from headers where path in ({marks})"
                rows |= {key: row for key, *row in self._database.execute(query, some)}
            for index, (key, stamp) in enumerate(zip(keys, stamps, strict=True)):
                kept, header = rows.get(key, (None, None))
                if kept is not None and stamp is not None and kept == json.dumps(stamp):
                    found[index] = Header(*json.loads(header))
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
