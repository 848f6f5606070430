"""The program `harmonic-tf`: finds the command that was typed and runs it.

TensorFlow is imported by the commands, when they run, so that help is quick.
"""

import sys
from dataclasses import asdict, fields
from typing import Annotated, Union

import tyro
from tyro.conf import subcommand

from harmonic_tf.training.cli.commands import COMMANDS, Train
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.recipe import read_recipe


def main(arguments=None):
    """Runs the program and exits: 0 if all went well, 2 for the user's mistakes, 130 for Ctrl-C.

    Args:
        arguments: list of str or None. Defaults to `None`, what was typed.
    """
    try:
        sys.exit(parse(sys.argv[1:] if arguments is None else arguments)())
    except UserError as error:
        print(f"harmonic-tf: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harmonic-tf: stopped", file=sys.stderr)
        sys.exit(130)


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
        about = "Object detection with losses that train scores and boxes together."
        command = Union[tuple(overview)]
        return tyro.cli(command, prog="harmonic-tf", description=about, args=arguments)
    name, *flags = arguments
    command = _parse(name, flags)
    if getattr(command, "config", None) is not None:
        recipe = asdict(read_recipe(command.config))
        known = {field.name for field in fields(command)}
        defaults = {key: value for key, value in recipe.items() if key in known}
        command = _parse(name, flags, default=COMMANDS[name](**defaults))
    if isinstance(command, Train) and command.resume is not None:
        if command != Train(resume=command.resume, extras=command.extras):
            raise UserError("a run goes on by its own recipe: --resume allows no flag but --extras")
    return command


def _parse(name, flags, **default):
    return tyro.cli(COMMANDS[name], prog=f"harmonic-tf {name}", args=flags, **default)
