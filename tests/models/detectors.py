"""The small detectors, as the tests of all detectors build and train them."""

import keras
import pytest

from harmonic_tf import models

ONE_STAGE = ["ssd_tiny", "dssd_tiny", "refinedet_tiny", "retinanet_tiny", "fcos_tiny", "fsaf_tiny"]
# These learn from random samples, so that no two losses are the same.
TWO_STAGE = ["faster_rcnn_tiny", "mask_rcnn_tiny", "cascade_rcnn_tiny", "cascade_mask_rcnn_tiny"]
TINY = [*ONE_STAGE, *TWO_STAGE]
# Of the same parts on a larger backbone: one of them stands for all where tests are to be quick.
LITE = [
    "ssd_lite",
    *(
        pytest.param(x, marks=pytest.mark.slow)
        for x in models.PRESETS
        if x.endswith("_lite") and x != "ssd_lite"
    ),
]


def build(preset, **settings):
    keras.utils.set_random_seed(0)
    return models.from_preset(preset, num_classes=3, **settings)


def compile_eagerly(model, loss):
    """For a step or two, which take less time than to build their graph does."""
    model.compile(optimizer="sgd", loss=loss(**model.loss_settings), run_eagerly=True)


def fit(model, dataset, **settings):
    return model.fit(dataset, verbose=0, shuffle=False, **settings).history
