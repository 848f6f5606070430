"""Detectors of other libraries, trained with our losses; each is imported only when asked for.

Outsiders use `KerasCVRetinaNet`.
"""

import importlib

#: Class -> its module here.
_ADAPTERS = {"KerasCVRetinaNet": "keras_cv_retinanet"}
__all__ = list(_ADAPTERS)


def __getattr__(name):
    if name not in _ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ADAPTERS[name]}"), name)
