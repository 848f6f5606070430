"""Whether two splits of a source can be trained on and evaluated on: overlaps, empty classes."""

import difflib
from typing import NamedTuple

from harmonic_tf.training.data.dataset import DetectionData, Sample


class Overlap(NamedTuple):
    """How many images of the second split are in the first, too.

    Attributes:
        by_file: int. It is the same file.
        by_content: int. It is another file (or none) with the same bytes.
        total: int. Images of the second split.
    """

    by_file: int
    by_content: int
    total: int

    def __bool__(self):
        return self.by_file + self.by_content > 0

    def __str__(self):
        return (
            f"{self.by_file + self.by_content} of {self.total} images are in both splits: "
            f"{self.by_file} by file, {self.by_content} more by content"
        )


def overlap(train_data: DetectionData, eval_data: DetectionData) -> Overlap:
    """Counts the images to evaluate on that are trained on.

    Args:
        train_data: DetectionData.
        eval_data: DetectionData.

    Returns:
        Overlap. It is false if there are none.

    Example:
        >>> train_data, eval_data = load_data("shapes:train=9"), load_data("shapes:val=9", "eval")
        >>> bool(overlap(train_data, eval_data))
        False
    """
    files = {_file(record) for record in train_data.records} - {None}
    contents = {record.digest for record in train_data.records} - {""}
    by_file = [_file(record) in files for record in eval_data.records]
    by_content = [record.digest in contents for record in eval_data.records]
    more = sum(content and not file for file, content in zip(by_file, by_content, strict=True))
    return Overlap(sum(by_file), more, len(eval_data))


def _file(record: Sample) -> str | None:
    return None if callable(record.encoded) else str(record.encoded.resolve())


def empty_classes(data: DetectionData) -> list[str]:
    """A line for each class without an object to train on, with what may have been meant.

    Args:
        data: DetectionData.

    Returns:
        list of str, such as `'Cat' (did you mean 'cat'?)`.
    """
    filled = {c for r in data.records for c in r.objects.classes[~r.objects.crowd].tolist()}
    lower = {name.lower(): name for name in reversed(data.other_classes)}
    lines = []
    for index, name in enumerate(data.class_names):
        if index not in filled:
            close = difflib.get_close_matches(name.strip().lower(), lower, n=1)
            hint = f" (did you mean {lower[close[0]]!r}?)" if close else ""
            lines.append(f"{name!r}{hint}")
    return lines


def check_trainable(data: DetectionData):
    """Raises `ValueError` if there is no object to train on."""
    empty = empty_classes(data)
    if len(empty) == len(data.class_names):
        others = ", ".join(map(repr, data.other_classes[:20]))
        there = f"; its objects are of the classes {others}" if others else ""
        expected = f", expected some of the classes {', '.join(empty)}" if empty else ""
        raise ValueError(f"{data.name} ({data.split}) has no object to train on{expected}{there}.")
