"""How many pixels are decoded at once, by however many threads."""

import contextlib
import threading
from collections.abc import Iterator


class PixelBudget:
    """Pixels that are shared by all who decode; who finds too few left waits.

    Args:
        limit: int. All of them; no one may ask for more.

    Example:
        >>> budget = PixelBudget(100)
        >>> with budget.taking(60):
        ...     budget.left
        40
    """

    def __init__(self, limit: int):
        self.left = limit
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taking(self, pixels: int) -> Iterator[None]:
        """Waits for so many pixels, and gives them back at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.left >= pixels)
            self.left -= pixels
        try:
            yield
        finally:
            with self._changed:
                self.left += pixels
                self._changed.notify_all()
