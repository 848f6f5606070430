"""HarmonicDet for Keras: losses that train a detector's scores and boxes together."""

import importlib
import os
import pkgutil

if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):
    raise ImportError(
        "harmonic_tf is made for Keras 3, but TF_USE_LEGACY_KERAS="
        f"{os.environ['TF_USE_LEGACY_KERAS']} makes tf.keras Keras 2, whose models divide by the "
        "replicas a second time: unset it before TensorFlow is imported."
    )

# Lets `harmonic_tf.models` and `harmonic_tf.training` be found beside an installed copy.
__path__ = pkgutil.extend_path(__path__, __name__)
__version__ = "0.2.0"

_PARTS = {"layouts", "losses", "metrics", "models"}
_NAMES = {
    "Layout": "layouts",
    "harmonize": "models.adapters.harmonizing",
    "pack": "adapters",
    "unpack": "adapters",
}
__all__ = [*_NAMES]


def __getattr__(name):
    """Imports Keras only when it is needed, so that the command line answers at once."""
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_PARTS, *_NAMES})
