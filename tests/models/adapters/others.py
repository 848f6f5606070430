"""Detectors of other libraries, small, and what they learn from."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import keras_cv
import numpy as np
import pytest
from plain_rectangles import rectangles

from harmonic_tf.models import PyramidBackbone

SIZE = (64, 64)


def retinanet(bounding_box_format="xyxy", **settings):
    backbone = PyramidBackbone("tiny", SIZE)
    return keras_cv.models.RetinaNet(backbone, 3, bounding_box_format, **settings)


def yolov8(bounding_box_format="xyxy", **settings):
    backbone = keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[16, 24, 32, 48],
        stackwise_depth=[1, 1, 1, 1],
        include_rescaling=True,
        input_shape=(*SIZE, 3),
    )
    return keras_cv.models.YOLOV8Detector(backbone, 3, bounding_box_format, fpn_depth=1, **settings)


def hub_retinanet(bounding_box_format="xyxy", **settings):
    import keras_hub

    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(*SIZE, 3),
    )
    backbone = keras_hub.models.RetinaNetBackbone(
        encoder, min_level=3, max_level=5, use_p5=True, image_shape=(*SIZE, 3)
    )
    return keras_hub.models.RetinaNetObjectDetector(
        backbone,
        3,
        bounding_box_format=bounding_box_format,
        pre_logits_num_conv_layers=1,
        **settings,
    )


def faster_rcnn(bounding_box_format="xyxy"):
    """Of keras-cv-nightly; KerasCV's own does not train on Keras 3."""
    backbone = PyramidBackbone("tiny", SIZE)
    return keras_cv.models.FasterRCNN(backbone, 3, bounding_box_format, num_sampled_rois=48)


needs_keras_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="keras_hub is not installed"
)
BUILDERS = [
    pytest.param(retinanet, id="keras_cv_retinanet"),
    pytest.param(yolov8, id="keras_cv_yolov8"),
    pytest.param(hub_retinanet, id="keras_hub_retinanet", marks=needs_keras_hub),
]


def seeded(build, *arguments, **settings):
    keras.utils.set_random_seed(0)
    return build(*arguments, **settings)


def data(build, count=2):
    """Images with an object each, and ground truth with room for two, named as the library does."""
    images, targets = rectangles(count, SIZE, objects=1)
    labels = "labels" if build is hub_retinanet else "classes"
    return images, {"boxes": targets["boxes"], labels: targets["classes"]}


def assert_same(found, expected):
    """All arrays of two dictionaries are the same, bit for bit."""
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def run_two_replicas(name):
    """Runs two_replicas.py, for the detector that a function of this name builds."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(here / "two_replicas.py"), name],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
