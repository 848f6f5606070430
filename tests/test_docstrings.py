"""The examples in docstrings run and give what they say."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import harmonic_tf
from harmonic_tf import adapters, losses, models

PACKAGES = [
    f"harmonic_tf.{name}"
    for name in ("losses", "ops", "models", "models.adapters", "models.torchvision")
]
MODULES = [
    f"harmonic_tf.{name}" for name in ("boxes", "coders", "layouts", "masks", "adapters", "metrics")
] + [
    module.name
    for package in PACKAGES
    for module in pkgutil.iter_modules(
        importlib.import_module(package).__path__, prefix=f"{package}."
    )
]
NAMES = {
    "np": np,
    "keras": keras,
    "ops": keras.ops,
    **vars(adapters),
    "Layout": harmonic_tf.Layout,
    "harmonize": harmonic_tf.harmonize,
    **{name: getattr(losses, name) for name in losses.__all__},
    **{name: getattr(models, name) for name in models.__all__},
}


def examples():
    for name in MODULES:
        for test in doctest.DocTestFinder().find(importlib.import_module(name)):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", list(examples()))
def test_example(test):
    test.globs.update({key: value for key, value in NAMES.items() if key not in test.globs})
    failed, attempted = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert attempted and not failed


def test_every_public_class_has_an_example_or_refers_to_one():
    for name in losses.__all__:
        text = getattr(losses, name).__doc__
        assert ">>>" in text or "HarmonicDetLoss" in text, name
    assert harmonic_tf.__doc__
