import keras
import pytest


@pytest.fixture
def without_compiling():
    """For tests of many small programs: compiling each would take longer than all the rest."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
