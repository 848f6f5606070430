"""Signals that end long work, but between two steps of it."""

import os
import signal
import threading
from contextlib import contextmanager, suppress

#: What ends training after the step at hand: Ctrl-C, `docker stop` and Slurm, a lost terminal.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def stop_on_interrupt():
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a request to stop after the step.

    A second signal does what it did before, which for Ctrl-C is to raise. A signal that is ignored,
    as SIGHUP under `nohup`, stays so. With SIGHUP the terminal is gone: what is said to it from
    then on goes nowhere, instead of failing.

    Yields:
        Function returning whether a stop was asked for.

    Example:

    ```python
    with stop_on_interrupt() as should_stop:
        finished = loop.run(batches, epochs=20, should_stop=should_stop)
    ```
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    previous = {k: v for k, v in previous.items() if v not in (signal.SIG_IGN, None)}
    terminals = [descriptor for descriptor in (1, 2) if _is_terminal(descriptor)]

    def restore():
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask(number, _):
        asked.set()
        restore()
        if number == getattr(signal, "SIGHUP", None):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in terminals:
                os.dup2(nowhere, descriptor)
            os.close(nowhere)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()


def interruptible(items):
    """The items of an iterable; after the first signal `KeyboardInterrupt`, between two of them.

    Where Python raises it of its own accord it may be inside of a finaliser, and is lost.

    Example:

    >>> list(interruptible("ab"))
    ['a', 'b']
    """
    with stop_on_interrupt() as should_stop:
        for item in items:
            yield item
            if should_stop():
                raise KeyboardInterrupt


def _is_terminal(descriptor):
    with suppress(OSError):
        return os.isatty(descriptor)
    return False
