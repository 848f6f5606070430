"""The kinds of models that `harmonize` knows: a library's is one line here."""

import importlib

import keras

from harmonic_tf.layouts import LAYOUTS, layout_of
from harmonic_tf.models.adapters.two_outputs import TwoOutputs
from harmonic_tf.models.detector import Detector

#: (library, class) -> its module here and the `Adapter` in it.
LIBRARIES = {
    ("keras_cv", "RetinaNet"): ("keras_cv_retinanet", "KerasCVRetinaNet"),
    ("keras_cv", "YOLOV8Detector"): ("keras_cv_yolov8", "KerasCVYOLOV8"),
    ("keras_cv", "FasterRCNN"): ("keras_cv_faster_rcnn", "KerasCVFasterRCNN"),
    ("keras_hub", "RetinaNetObjectDetector"): ("keras_hub_retinanet", "KerasHubRetinaNet"),
}


def adapter_of(model, layout=None):
    """The `Adapter` of a user's model.

    Args:
        model: Keras model.
        layout: `harmonic_tf.Layout`, its name or config, for a model with two outputs.

    Raises:
        ValueError: for a model of another kind, with what to do instead.
    """
    for parent in type(model).__mro__:
        known = LIBRARIES.get((parent.__module__.split(".")[0], parent.__name__))
        if known is None:
            continue
        if layout is not None:
            raise ValueError(
                f"{parent.__name__} of {parent.__module__.split('.')[0]} says itself how it writes "
                f"boxes and classes: expected layout=None. Received: layout={layout!r}"
            )
        module, name = known
        module = importlib.import_module(f"harmonic_tf.models.adapters.{module}")
        return getattr(module, name)(model)
    if layout is None or _output_count(model) != 2:
        raise ValueError(f"`harmonize` {_advice(model)} Received: {model!r}, layout={layout!r}")
    return TwoOutputs(model, layout_of(layout))


def _output_count(model):
    """How many outputs a functional model has; 0 for what is none."""
    outputs = getattr(model, "output", None) if isinstance(model, keras.Model) else None
    return len(keras.tree.flatten(outputs)) if outputs is not None else 0


def _advice(model):
    if isinstance(model, Detector):
        return (
            "is for models of other libraries; this one is compiled as it is: "
            "model.compile(optimizer, loss=HarmonicDetLoss())."
        )
    count = _output_count(model)
    if count == 1:
        return (
            "joins two outputs; a model with one is compiled as it is: "
            "model.compile(optimizer, loss=HarmonicDetLoss(layout=...)) with one of "
            f"{sorted(LAYOUTS)}, a harmonic_tf.Layout, or none for deltas, logits and background "
            "side by side."
        )
    if count == 2:
        return (
            "must be told how a model with two outputs writes them: expected `layout`, one of "
            f"{sorted(LAYOUTS)} or a harmonic_tf.Layout."
        )
    known = ", ".join(f"{library}'s {name}" for library, name in LIBRARIES)
    return (
        f"knows {known}, and functional Keras 3 models with two outputs and a layout. Let another "
        "model return one tensor, harmonic_tf.pack({...}), (B, A, 4 + C), and compile it with "
        "loss=HarmonicDetLoss(...)."
    )
