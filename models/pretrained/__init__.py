"""Trained detectors that come with the package: a folder each, as of a run, and a model card."""

from pathlib import Path

FOLDER = Path(__file__).parent
#: What `harmonic-tf predict` takes where no model is named.
DEFAULT = "voc"
#: The score from which its boxes are drawn there: of the first 600 of its training images it
#: then finds 42 % of the objects, and 83 % of what it finds is right.
SHOWN_FROM = 0.25


def pretrained_names():
    """The names of the detectors, sorted.

    Example:

    >>> pretrained_names()
    ['voc']
    """
    return sorted(file.parent.name for file in FOLDER.glob("*/model.keras"))


def pretrained_folder(name):
    """The folder of a detector, with `model.keras`, `labels.json`, `recipe.yaml`, `metrics.json`.

    Args:
        name: string, of `pretrained_names`.

    Returns:
        Path, or None if there is no such detector.
    """
    return FOLDER / name if name in pretrained_names() else None
