"""Writing files so that a reader never meets half of one."""

import json
import os
from pathlib import Path


def write_bytes(path, content: bytes) -> Path:
    """Writes `content` beside `path` and renames it there, making the folder if need be.

    Args:
        path: str or Path. The file to write; an older one is replaced.
        content: bytes. All of the file.

    Returns:
        Path. The file written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def write_json(path, value, indent: int | None = 2) -> Path:
    """Writes `value` as standard JSON, atomically.

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
    return write_bytes(path, text.encode("utf-8"))
