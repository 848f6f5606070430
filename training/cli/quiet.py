"""TensorFlow without its notes at start-up."""

import os


def import_tensorflow():
    """Imports TensorFlow silently; does nothing if the user has set TF_CPP_MIN_LOG_LEVEL.

    What TensorFlow writes before it has set up its log (on instruction sets and missing CUDA
    drivers) heeds no variable, so the stream itself is put aside for the import.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
