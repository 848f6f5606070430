"""The examples on detectors of KerasCV and KerasHub."""

import importlib.util

import keras_cv
import numpy as np
import pytest
from run_example import run

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning")
HAS_KERAS_HUB = importlib.util.find_spec("keras_hub") is not None
IS_NIGHTLY = "dev" in keras_cv.__version__


def in_its_environment(name, is_there):
    return pytest.param(name, marks=pytest.mark.skipif(not is_there, reason="is not installed"))


@pytest.mark.parametrize(
    "name",
    [
        "keras_cv_retinanet",
        "keras_cv_yolov8",
        in_its_environment("keras_hub_retinanet", HAS_KERAS_HUB),
        in_its_environment("keras_cv_nightly_faster_rcnn", IS_NIGHTLY),
    ],
)
def test_harmonized(name):
    """The loss falls, and `predict` is the detector's; tests/models/adapters saves and loads."""
    values = run(name)
    detector, images = values["model"].detector, values["images"]
    assert any(value is detector for value in values.values())
    expected = detector.predict(images, verbose=0)
    assert expected["boxes"].shape[0] == len(images)
    for key, value in expected.items():
        np.testing.assert_array_equal(values["found"][key], value, err_msg=key)
