"""Which of a source's splits is trained on and which is evaluated on."""

from collections.abc import Collection
from pathlib import Path

# Beginnings of splits' names, the best first.
NAMES = {"train": ("train",), "eval": ("valid", "val", "test")}
PURPOSES = {"train": "train on", "eval": "evaluate on"}
#: What a source without splits is called.
WHOLE = "all"


class SplitError(ValueError):
    """No split fits, or several do.

    Attributes:
        splits: list of str. Those of the source.
    """

    def __init__(self, message: str, splits: Collection[str]):
        super().__init__(message)
        self.splits = sorted(splits)


def fitting(splits: Collection[str], role: str) -> list[str]:
    """The splits that fit a role equally well: those with the best beginning, or that very name.

    Example:
        >>> fitting(["train2014", "train2017"], "train"), fitting(["val2017", "test"], "eval")
        (['train2014', 'train2017'], ['val2017'])
    """
    for beginning in NAMES[role]:
        found = [split for split in splits if split.lower().startswith(beginning)]
        if found:
            exact = [split for split in found if split.lower() == beginning]
            return exact or sorted(found)
    return []


def roles_of(splits: Collection[str]) -> list[str]:
    """The roles that a source has a split for.

    Example:
        >>> roles_of(["train", "test"]), roles_of(["train"]), roles_of(["default"])
        (['train', 'eval'], ['train'], [])
    """
    return [role for role in NAMES if fitting(splits, role)]


def pick_split(splits: Collection[str], role: str, wanted: str | None, where) -> str:
    """The split to read: the one that is wanted, else that of the role.

    The only split of a source is that of both roles if its name says neither.

    Args:
        splits: collection of str. Those of the source.
        role: str. "train" or "eval".
        wanted: str or None. "all" is the only split of a source whose name says no role, too.
        where: str or Path. The source, for the message.

    Raises:
        SplitError: there is no such split, or several fit.
    """
    if wanted == WHOLE and not roles_of(splits):
        fits = sorted(splits)
    elif wanted is not None:
        fits = [wanted] if wanted in splits else []
    else:
        fits = fitting(splits, role) or ([] if roles_of(splits) else sorted(splits))
    if len(fits) == 1:
        return fits[0]
    expected = f"the split {wanted!r}" if wanted else f"one split to {PURPOSES[role]}"
    held_out = "" if wanted or role == "train" or fits else ", or hold some out by --val-fraction"
    raise SplitError(
        f"{where}: expected {expected}, received {len(fits)}; name one of the splits there: "
        f"{', '.join(sorted(splits)) or 'none'}{held_out if splits else ''}.",
        splits,
    )


def split_folders(root: Path) -> dict[str, Path]:
    """The folders inside of a folder that are named as splits are, by their names."""
    beginnings = tuple(name for names in NAMES.values() for name in names)
    if not root.is_dir():
        return {}
    folders = [place for place in sorted(root.iterdir()) if place.is_dir()]
    return {place.name: place for place in folders if place.name.lower().startswith(beginnings)}
