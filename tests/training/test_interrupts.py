"""Signals end long work between two steps of it."""

import os
import signal

import pytest

from harmonic_tf.training.interrupts import STOP_SIGNALS, interruptible, stop_on_interrupt


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_asks_and_the_second_does_what_it_did(number, monkeypatch):
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            with stop_on_interrupt() as should_stop:
                assert not should_stop()
                os.kill(os.getpid(), number)
                assert should_stop()
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_interrupt() as should_stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not should_stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_items_end_after_the_one_at_hand_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for item in interruptible(range(5)):
            if item == 2:
                signal.raise_signal(signal.SIGINT)
            seen.append(item)
    assert seen == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is before
    assert list(interruptible("ab")) == ["a", "b"]


def test_a_signal_in_a_finaliser_is_not_lost():
    """Python itself only prints what is raised there."""

    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        for _ in interruptible(range(3)):
            Finalised()
