"""Where the program speaks: text as it is, for names may hold what `rich` takes for markup."""

import contextlib
import logging
import re
import traceback
import warnings

from rich.console import Console
from rich.segment import Segment

# Control characters but for tab and line feed, and half characters, which no terminal takes.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text) -> str:
    """Text with its control characters escaped: a terminal obeys those of a file's name, too.

    Example:

    >>> printable("lid" + chr(27) + "[2J")
    'lid\\\\x1b[2J'
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def printable_logger(name: str) -> logging.Logger:
    """Python's logger of that name; its messages are `printable`, whoever shows them."""
    logger = logging.getLogger(name)
    logger.addFilter(_escape)
    return logger


def _escape(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


@contextlib.contextmanager
def printable_warnings():
    """Python's warnings, anyone's, are shown `printable` within."""
    plain = warnings.formatwarning
    warnings.formatwarning = lambda *args, **settings: printable(plain(*args, **settings))
    try:
        yield
    finally:
        warnings.formatwarning = plain


def printable_traceback() -> str:
    """The traceback of the exception at hand, `printable`."""
    return printable(traceback.format_exc()).rstrip()


class _PlainConsole(Console):
    def render_str(self, text, **settings):  # before columns are measured
        return super().render_str(printable(text), **settings)

    def render(self, renderable, options=None):
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def plain_console(**settings) -> Console:
    """A `rich` console that prints brackets and colons as they are, and `printable` names.

    Args:
        **settings: arguments of `rich.console.Console`.

    Example:

    >>> plain_console().print("lid [/closed] :smile:")
    lid [/closed] :smile:
    """
    return _PlainConsole(markup=False, emoji=False, highlight=False, **settings)


def line_console() -> Console:
    """The console for lines of any length, which are not wrapped."""
    return plain_console(soft_wrap=True)
