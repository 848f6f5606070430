"""Runs of a toy detector, for those tests that ask for them."""

import shutil
from pathlib import Path

import pytest
from toy_detector import ToyDetector
from toy_runs import RECIPE, InterruptAfter

from harmonic_tf.training import train as train_module
from harmonic_tf.training.train import train


@pytest.fixture(scope="module")
def toy():
    """Recipes build the toy detector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            train_module, "build_model", lambda recipe, names: ToyDetector(len(names), 0.2)
        )
        yield


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """What has no folder of its own lands in the test's."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """A run that was never stopped; to be read only."""
    return train(RECIPE, tmp_path_factory.mktemp("runs") / "whole", extras=False)


@pytest.fixture(scope="module")
def stopped_once(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    return train(RECIPE, folder, extras=False, callbacks=[InterruptAfter(7)]).folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """The folder of a run that was stopped after the first of three steps of epoch 3."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))
