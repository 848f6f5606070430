"""Images with boxes, from any of the known sources, as batches for training and evaluation.

`load_data` reads a source into one form (`DetectionData`), `train_batches` and `eval_batches` turn
that into `tf.data` pipelines, and `print_summary` tells what is in it.
"""

import importlib

from harmonic_tf.training.data.dataset import DetectionData, Objects, Sample
from harmonic_tf.training.data.load import absolute_spec, load_data
from harmonic_tf.training.data.problems import BadDataError, Problem, problem_report

# What needs TensorFlow, which takes seconds to import, or only few ask for.
_LAZY = {
    "Augmentation": "transforms.augmentation",
    "train_batches": "pipeline",
    "eval_batches": "pipeline",
    "network_boxes": "pipeline",
    "fit_image": "transforms.render",
    "print_summary": "summary",
}

__all__ = [
    "Augmentation",
    "BadDataError",
    "DetectionData",
    "Objects",
    "Problem",
    "Sample",
    "absolute_spec",
    "eval_batches",
    "fit_image",
    "load_data",
    "network_boxes",
    "print_summary",
    "problem_report",
    "train_batches",
]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]
