"""The program `harmonic-tf`: finds the command that was typed and runs it.

TensorFlow is imported by the commands, when they run, so that help is quick.
"""

import contextlib
import os
import signal
import sys
import threading
from dataclasses import asdict, fields
from typing import Annotated, Union

import tyro
from tyro.conf import subcommand

from harmonic_tf.training.cli.commands import COMMANDS, Train
from harmonic_tf.training.console import printable, printable_traceback, printable_warnings
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.recipe import read_recipe

ABOUT = """Object detection with losses that train scores and boxes together.

harmonic-tf --version says which versions are at work. With --debug, every error of a command is
shown with its traceback."""


def main(arguments=None):
    """Runs the program and exits: 0 if all went well, 1 for the program's mistakes, 2 for the
    user's, 130 for Ctrl-C.

    Args:
        arguments: list of str or None. Defaults to `None`, what was typed.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # A name may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with _other_stops_as_ctrl_c(), printable_warnings(), _flushed_output():
            sys.exit(version() if arguments == ["--version"] else parse(arguments)())
    except BrokenPipeError:  # who read the output has gone, as `head` does; an exit writes again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UserError as error:
        if debug:
            print(printable_traceback(), file=sys.stderr)
        print(f"harmonic-tf: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if debug:
            print(printable_traceback(), file=sys.stderr)
        print("harmonic-tf: stopped", file=sys.stderr)
        sys.exit(130)
    except Exception:
        print(printable_traceback(), file=sys.stderr)
        sys.exit(1)


def version():
    """Prints the versions of this library and of what it stands on."""
    from harmonic_tf.training.environment import versions

    own, *others = (f"{name} {value}" for name, value in versions().items())
    print(f"{own} ({', '.join(others)})")


def parse(arguments):
    """The command that was typed, as a callable; values of its --config file are its defaults.

    Args:
        arguments: list of str.

    Returns:
        An instance of one of `COMMANDS`.

    Raises:
        UserError: If a --config file is not in order, or flags contradict --resume.
        SystemExit: After help, or an unknown command or flag.
    """
    if not arguments or arguments[0] not in COMMANDS:
        overview = [
            Annotated[command, subcommand(name, description=command.__doc__.splitlines()[0])]
            for name, command in COMMANDS.items()
        ]
        command = Union[tuple(overview)]
        return tyro.cli(command, prog="harmonic-tf", description=ABOUT, args=arguments)
    name, *flags = arguments
    command = _parse(name, flags)
    if getattr(command, "config", None) is not None:
        recipe = asdict(read_recipe(command.config))
        known = {field.name for field in fields(command)}
        defaults = {key: value for key, value in recipe.items() if key in known}
        command = _parse(name, flags, default=COMMANDS[name](**defaults))
    if isinstance(command, Train) and command.resume is not None:
        allowed = ("resume", "extend_to", "checkpoint_minutes", "extras")
        if command != Train(**{name: getattr(command, name) for name in allowed}):
            raise UserError(
                "a run goes on by its own recipe: --resume allows no flag but --extend-to, "
                "--checkpoint-minutes and --extras"
            )
    return command


def _parse(name, flags, **default):
    return tyro.cli(COMMANDS[name], prog=f"harmonic-tf {name}", args=flags, **default)


@contextlib.contextmanager
def _flushed_output():
    """Writes what stdout still holds before an exit, so that its error is raised here."""
    try:
        yield
    except SystemExit:
        sys.stdout.flush()
        raise


@contextlib.contextmanager
def _other_stops_as_ctrl_c():
    """Lets SIGTERM and SIGHUP, unless they are ignored, end a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) == signal.SIG_DFL}
    for number in previous:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
