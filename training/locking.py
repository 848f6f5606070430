"""One training at a time in a folder."""

import contextlib
import os
import socket
from pathlib import Path

from harmonic_tf.training.errors import UserError
from harmonic_tf.training.files import is_aside, writing_to

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = ".lock"


class FolderInUse(UserError):
    """A folder that is taken, by another process or by what lies in it."""


@contextlib.contextmanager
def claimed(folder):
    """Keeps a folder for this process, making it if need be.

    The system itself ends the claim when the process ends, however it ends: a lock file that a
    killed process left behind stops no one. If at the end the folder holds nothing but the lock, it
    goes, and so do the parents that were made for it.

    Args:
        folder: str or Path. The folder to claim.

    Yields:
        Path. The folder.

    Raises:
        FolderInUse: If another process has claimed it.
        UserError: If it cannot be made or written to.

    Example:

    ```python
    with claimed("runs/cells"):
        ...
    ```
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _lock(folder / LOCK_FILE)
    try:
        yield folder
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        os.close(file)
        with contextlib.suppress(OSError):  # not empty: something came of it
            for path in missing:
                path.rmdir()


def is_empty(folder) -> bool:
    """Whether a folder holds nothing but, perhaps, a lock and what a killed writer left aside."""
    return all(child.name == LOCK_FILE or is_aside(child) for child in Path(folder).iterdir())


def _lock(path) -> int:
    """The descriptor of the locked file; the lock lasts until it is closed.

    A link in its place is not followed: what it leads to would be written over.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            raise FolderInUse(
                f"{path.parent}: another training is at work here"
                f"{f' ({owner})' if owner else ''}; wait for it, or choose another --output"
            ) from None
        except OSError:  # a file system without locks
            pass
        # Whoever had the lock before may have removed the file between opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file)):
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return file
        os.close(file)
