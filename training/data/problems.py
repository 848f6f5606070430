"""What cannot be used in the data, and the list in which it is named."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path


class Unusable(ValueError):
    """A reason to leave out one object or one image. Becomes a `Problem` in `ProblemLog`.

    Attributes:
        file: the file at fault, if it is another one than is being read.
    """

    def __init__(self, reason: str, file=None):
        super().__init__(reason)
        self.file = file


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in the ground truth that cannot be used.

    Attributes:
        file: str. The file it stands in.
        object: str or None. Which object of the file; None if the whole image is left out.
        reason: str. What is wrong: its kind, then a colon and the details if there are any.
        image: Path or None. The image's file, if it is one of its own; it makes no other problem.
    """

    file: str
    object: str | None
    reason: str
    image: Path | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """The reason without its details: what problems are counted by."""
        return self.reason.partition(":")[0]

    def __str__(self):
        where = f"{self.file}, {self.object}" if self.object else self.file
        return f"{where}: {self.reason}"


class BadDataError(ValueError):
    """Unusable ground truth, with all of it listed.

    Attributes:
        problems: tuple of Problem.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} problem(s) in the data:\n{lines}")


def problem_report(problems: Sequence[Problem], limit: int | None = None) -> str:
    """Problems as text: grouped by kind with their counts, each named with file and object.

    Args:
        problems: sequence of Problem.
        limit: int or None. Name only so many of them.

    Returns:
        str, empty if there are no problems.

    Example:
        >>> print(problem_report([Problem("a.xml", "object 2", "inverted box: (9, 1, 2, 4)")]))
        inverted box (1)
          a.xml, object 2: inverted box: (9, 1, 2, 4)
    """
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.kind, []).append(problem)
    lines, named = [], 0
    for kind, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"{kind} ({len(members)})")
        shown = members if limit is None else members[: max(0, limit - named)]
        lines += [f"  {problem}" for problem in shown]
        named += len(shown)
        if len(shown) < len(members):
            lines.append(f"  ... and {len(members) - len(shown)} more")
    return "\n".join(lines)
