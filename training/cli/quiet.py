"""TensorFlow without its notes at start-up."""

import contextlib
import os


def import_tensorflow():
    """Imports TensorFlow silently; does nothing if the user has set TF_CPP_MIN_LOG_LEVEL.

    What TensorFlow writes before it has set up its log, and when it first looks for devices (on
    instruction sets and missing CUDA drivers), heeds no variable, so the stream itself is put aside
    until it has looked. From then on its errors are shown, its notes and warnings are not.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with _without_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_stderr():
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
