"""Where the program speaks: text as it is, for names may hold what `rich` takes for markup."""

from rich.console import Console


def plain_console(**settings) -> Console:
    """A `rich` console that prints square brackets and colons as they are.

    Args:
        **settings: arguments of `rich.console.Console`.

    Example:

    >>> plain_console().print("lid [/closed] :smile:")
    lid [/closed] :smile:
    """
    return Console(markup=False, emoji=False, highlight=False, **settings)


def line_console() -> Console:
    """The console for lines of any length, which are not wrapped."""
    return plain_console(soft_wrap=True)
