"""A trained detector for other classes: what it knows of a class goes where the class goes."""

import keras
import numpy as np


def with_classes(model, sources, **settings):
    """The same detector for other classes, with the weights of those that it knows.

    What does not depend on the classes is taken as it is, and so is the background. A class that
    is new starts from random weights, as in a new detector.

    Args:
        model: a `Detector`. It stays as it is, and shares nothing with the result.
        sources: sequence. For each class of the result its index in `model`, None for a new one.
        **settings: arguments of the detector that take the place of the model's.

    Returns:
        A detector of the same class.

    Raises:
        ValueError: if there are no classes, or an index is none of the model's.

    Example:

    >>> animals = SSD.from_preset("ssd_tiny", num_classes=2)  # cat, dog
    >>> with_classes(animals, [1, None, 0]).num_classes  # dog, zebra, cat
    3
    """
    known = {source for source in sources if source is not None}
    if not sources or not known <= set(range(model.num_classes)):
        raise ValueError(
            f"`sources` must have an index from 0 to {model.num_classes - 1}, or None, for each "
            f"class. Received: {list(sources)}"
        )
    result = _rebuilt(model, len(sources), settings)
    # Which weights have columns for classes is seen on a detector with one class more.
    larger = _rebuilt(model, model.num_classes + 1, settings)
    for there, here, grown in zip(model.weights, result.weights, larger.weights, strict=True):
        values = keras.ops.convert_to_numpy(there)
        growth = grown.shape[-1] - there.shape[-1] if len(there.shape) else 0
        if growth:
            values = _columns(values, keras.ops.convert_to_numpy(here), sources, growth, here.path)
        here.assign(values)
    return result


def _rebuilt(model, num_classes, settings):
    return type(model).from_config({**model.get_config(), "num_classes": num_classes, **settings})


def _columns(there, here, sources, growth, path):
    """The values `here`, `(..., columns)`, with those of the classes that are `there`, too.

    Columns are anchors by classes, the background last where there is one; those of boxes that
    each class has for itself are classes by coordinates.
    """
    by_class = "box" in path.split("/")
    groups, minor = (1, growth) if by_class else (growth, 1)
    there, here = (
        np.reshape(values, (*values.shape[:-1], groups, -1, minor)).copy()
        for values in (there, here)
    )
    num_classes = len(sources)
    for index, source in enumerate(sources):
        if source is not None:
            here[..., index, :] = there[..., source, :]
    background = here.shape[-2] - num_classes
    if background:
        here[..., num_classes:, :] = there[..., -background:, :]
    return np.reshape(here, (*here.shape[:-3], -1))
