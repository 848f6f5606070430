"""What names hold reaches the terminal as text, not as orders to it."""

import io
import warnings
from pathlib import Path

from rich.table import Table
from rich.text import Text

from harmonic_tf.training.console import (
    plain_console,
    printable,
    printable_logger,
    printable_warnings,
)


def test_control_and_half_characters_are_escaped_and_the_rest_stays():
    assert printable("k\udce4se\x1b[2J\x9b\r") == r"k\udce4se\x1b[2J\x9b\r"
    assert printable("tab\tline\né [b] \\") == "tab\tline\né [b] \\"


def test_a_console_escapes_in_lines_and_tables():
    out, table = io.StringIO(), Table("class")
    table.add_row("cat\x1b[31m")
    console = plain_console(file=out, width=40)
    console.print("dog\x1b[2J")
    console.print(table)
    console.print(Text("owl\x1b[2J"))
    assert "\x1b" not in out.getvalue()
    for name in (r"dog\x1b[2J", r"cat\x1b[31m", r"owl\x1b[2J"):
        assert name in out.getvalue()


def test_styles_are_still_styles():
    out = io.StringIO()
    plain_console(file=out, force_terminal=True).print("dog", style="bold")
    assert "\x1b[1m" in out.getvalue()


def test_a_logger_escapes_what_it_is_told_for_every_handler(caplog):
    for _ in range(2):
        logger = printable_logger("harmonic_tf.of_this_test")
    logger.warning("%s: %d%% of %s", "owl\x1b[2J", 5, "k\udce4se")
    logger.warning("100%\x1b[2J")
    assert caplog.messages == [r"owl\x1b[2J: 5% of k\udce4se", r"100%\x1b[2J"]
    assert logger.filters == logger.filters[:1]


def test_no_module_that_trains_logs_past_it():
    """But one, which logs numbers."""
    folder = Path(__file__).parents[2] / "training"
    found = {f.stem for f in folder.rglob("*.py") if "getLogger(" in f.read_text("utf-8")}
    assert found == {"console", "average_precision"}


def test_warnings_are_escaped_within():
    warning = ("owl\x1b[2J", UserWarning, "x.py", 1)
    with printable_warnings():
        assert r"UserWarning: owl\x1b[2J" in warnings.formatwarning(*warning)
    assert "owl\x1b[2J" in warnings.formatwarning(*warning)
