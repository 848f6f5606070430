"""HarmonicDet for Keras: losses that train a detector's scores and boxes together."""

import importlib
import pkgutil

# Lets `harmonic_tf.models` and `harmonic_tf.training` be found beside an installed copy.
__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "0.2.0"
__all__ = ["pack", "unpack"]


def __getattr__(name):
    """Imports Keras only when it is needed, so that the command line answers at once."""
    if name in __all__:
        return getattr(importlib.import_module("harmonic_tf.adapters"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
