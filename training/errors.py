"""The error that the program shows as a message instead of a traceback."""

from contextlib import contextmanager


class UserError(Exception):
    """A mistake in what the user asked for, or something that only the user can mend."""


@contextmanager
def as_user_error():
    """Takes a ValueError or OSError raised inside for a mistake in what the user asked for.

    Raises:
        UserError: With the same message.

    Example:

    >>> with as_user_error():
    ...     int("ten")
    Traceback (most recent call last):
    harmonic_tf.training.errors.UserError: invalid literal for int() with base 10: 'ten'
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
