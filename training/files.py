"""Reading text whatever its encoding, and writing so that a reader never meets half a file."""

import codecs
import contextlib
import errno
import json
import os
import re
from pathlib import Path

from harmonic_tf.training.errors import UserError

# UTF-32 before UTF-16: its mark begins with the other's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# `.PID.NAME`; up to version 0.1.0 also `.NAME.PID`.
_ASIDE = re.compile(r"\.\d+\..+|\..+\.\d+")


def read_text(path) -> str:
    """Reads a text file by its byte order mark, else as UTF-8, else as Latin-1.

    Args:
        path: str or Path. The file to read.

    Returns:
        str. Never fails to decode: every byte is a letter of Latin-1.

    Raises:
        OSError: As `read_bytes` does.
    """
    return decode_text(read_bytes(path))


def read_bytes(path) -> bytes:
    """A file's content; no pipe or device is read, for that may never end.

    Raises:
        OSError: If there is no such file, or it cannot be read.
    """
    path = Path(path)
    if path.is_fifo() or path.is_char_device() or path.is_block_device():
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))
    return path.read_bytes()


def decode_text(content: bytes) -> str:
    """Text by its byte order mark, else as UTF-8, else as Latin-1."""
    marked = decode_marked(content)
    if marked is not None:
        return marked
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def decode_marked(content: bytes) -> str | None:
    """The text of bytes that begin with a byte order mark, without it; None without a mark."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    return None


@contextlib.contextmanager
def replacing(path):
    """A file to write aside, `.PID.NAME`, that takes the place of `path` once it is whole.

    Args:
        path: str or Path. The file to write; an older one is replaced.

    Yields:
        Path. Where to write; renamed to `path` at the end, removed if something is raised.

    Example:

    ```python
    with replacing("runs/cells/model.keras") as aside:
        model.save(aside)
    ```
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield aside
        with aside.open("rb+") as file:  # or a power cut may leave an empty file
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def sweep(folder):
    """Removes what killed writers left aside in a folder that no one else writes to."""
    for file in filter(is_aside, Path(folder).glob(".*")):
        file.unlink(missing_ok=True)


def is_aside(file: Path) -> bool:
    """Whether this is what a writer that was killed left aside."""
    return _ASIDE.fullmatch(file.name) is not None and file.is_file()


def write_bytes(path, content: bytes) -> Path:
    """Writes `content` beside `path` and renames it there, making the folder if need be.

    Args:
        path: str or Path. The file to write; an older one is replaced.
        content: bytes. All of the file.

    Returns:
        Path. The file written.
    """
    with replacing(path) as aside:
        aside.write_bytes(content)
    return Path(path)


def write_json(path, value, indent: int | None = 2) -> Path:
    """Writes `value` as standard JSON, atomically; names that are no text come back as they were.

    Half characters, such as Python has for the bytes of a file's name that are no UTF-8, are
    escaped and read back as they are.

    Args:
        path: str or Path. The file to write.
        value: JSON-serialisable. The content; NaN and infinity are no JSON and are refused.
        indent: int or None. Spaces a level; None for one line. Defaults to `2`.

    Returns:
        Path. The file written.

    Raises:
        ValueError: If `value` holds NaN or infinity.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def require_folder(folder):
    """Sees, before the work whose results go there, that a folder can be written to or made.

    Raises:
        UserError: If it, or what it would lie in, is a file or cannot be written to.
    """
    folder = Path(folder)
    with writing_to(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{folder}: expected a folder; {there} is a file")
    if not os.access(there, os.W_OK):
        raise UserError(f"{folder}: cannot be written to")


@contextlib.contextmanager
def writing_to(folder, hint=""):
    """Takes an OSError raised inside, such as a full disk, for something that the user can mend.

    Args:
        folder: str or Path. What is being written, for the message.
        hint: str. What the user can do, for the message. Defaults to none.

    Raises:
        UserError: With the system's own reason.
    """
    try:
        yield
    except OSError as error:
        reason, file = error.strerror or str(error), error.filename2 or error.filename
        if isinstance(file, str | Path) and Path(file) != Path(folder):
            reason += f" ({Path(file).name})"
        raise UserError(f"{folder}: cannot be written to: {reason}{hint}") from error
