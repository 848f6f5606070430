"""What names hold reaches the terminal as text, not as orders to it."""

import io

from rich.table import Table
from rich.text import Text

from harmonic_tf.training.console import plain_console, printable


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
