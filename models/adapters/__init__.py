"""Detectors of other libraries, trained with our losses.

Outsiders use `harmonize`. What is particular to a library is imported only when asked for.
"""

import importlib

#: Name -> its module here.
_NAMES = {
    "harmonize": "harmonizing",
    "Harmonized": "harmonized",
    "KerasCVRetinaNet": "deprecated",
}
__all__ = list(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
