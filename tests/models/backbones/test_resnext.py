import keras
import numpy as np
import pytest

from harmonic_tf.models.backbones import backbone as backbones
from harmonic_tf.models.backbones.backbone import PyramidBackbone, build_backbone
from harmonic_tf.models.backbones.resnext import resnext
from harmonic_tf.models.backbones.torch_weights import convert

DEPTHS, WIDTHS, GROUPS = (1, 2, 1, 1), (16, 24, 32, 40), 4


@pytest.fixture
def miniature():
    images = keras.Input((64, 96, 3))
    return keras.Model(images, resnext(DEPTHS, WIDTHS, GROUPS)(images))


def random_state_dict():
    """Names and shapes as torchvision has them, written down here a second time."""
    random = np.random.default_rng(0)
    state = {}

    def convolution(name, norm, outputs, inputs, size):
        scale = np.sqrt(2 / (inputs * size * size))
        state[f"{name}.weight"] = scale * random.normal(size=(outputs, inputs, size, size))
        state[f"{norm}.weight"] = random.uniform(0.5, 1.5, outputs)
        state[f"{norm}.bias"] = random.normal(size=outputs)
        state[f"{norm}.running_mean"] = random.normal(size=outputs)
        state[f"{norm}.running_var"] = random.uniform(0.5, 1.5, outputs)
        state[f"{norm}.num_batches_tracked"] = np.array(7)

    convolution("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True), 1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            convolution(f"{name}.conv1", f"{name}.bn1", width, inputs, 1)
            convolution(f"{name}.conv2", f"{name}.bn2", width, width // GROUPS, 3)
            convolution(f"{name}.conv3", f"{name}.bn3", width, width, 1)
            if block == 0:
                convolution(f"{name}.downsample.0", f"{name}.downsample.1", width, inputs, 1)
            inputs = width
    state["fc.weight"] = np.zeros((1000, inputs))
    state["fc.bias"] = np.zeros(1000)
    return {name: x if x.dtype == "int64" else x.astype("float32") for name, x in state.items()}


def torch_features(state, images):
    """What torchvision's network computes, from functions of PyTorch."""
    import torch
    from torch.nn import functional as F

    state = {name: torch.tensor(x) for name, x in state.items()}

    def normalised(x, name, norm, **settings):
        x = F.conv2d(x, state[f"{name}.weight"], **settings)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{norm}.{part}"] for part in parts), eps=1e-5)

    x = torch.tensor(images).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean[:, None, None]) / std[:, None, None]
    x = F.relu(normalised(x, "conv1", "bn1", stride=2, padding=3))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    levels = {}
    for stage, depth in enumerate(DEPTHS, 1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.relu(normalised(x, f"{name}.conv1", f"{name}.bn1"))
            grouped = {"stride": stride, "padding": 1, "groups": GROUPS}
            y = F.relu(normalised(y, f"{name}.conv2", f"{name}.bn2", **grouped))
            y = normalised(y, f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = normalised(x, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride)
            x = F.relu(x + y)
        levels[f"P{stage + 1}"] = x.permute(0, 2, 3, 1).numpy()
    return levels


def test_features_are_those_of_pytorch(miniature):
    pytest.importorskip("torch")
    state = random_state_dict()
    convert(state, miniature)
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 96, 3)).astype("float32")
    received, expected = miniature(images), torch_features(state, images)
    assert sorted(received) == sorted(expected) == ["P2", "P3", "P4", "P5"]
    for level in expected:
        np.testing.assert_allclose(received[level], expected[level], rtol=1e-4, atol=1e-4)


def test_the_state_dict_is_assigned_by_name(miniature):
    state = random_state_dict()
    convert(state, miniature)
    kernel = miniature.get_layer("layer2_1_conv2").get_weights()[0]
    assert kernel.shape == (3, 3, 24 // GROUPS, 24)
    np.testing.assert_array_equal(kernel[0, 2, 5, 7], state["layer2.1.conv2.weight"][7, 5, 0, 2])
    norm = miniature.get_layer("layer3_0_downsample_1").get_weights()
    for received, part in zip(norm, ("weight", "bias", "running_mean", "running_var"), strict=True):
        np.testing.assert_array_equal(received, state[f"layer3.0.downsample.1.{part}"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bn1.weight": None}, r"lacks bn1\.weight\."),
        ({"layer4.1.conv1.weight": np.zeros((1, 1, 1, 1))}, r"has not, layer4\.1\.conv1\.weight\."),
        (
            {"conv1.weight": np.zeros((64, 3, 3, 3))},
            r"conv1\.weight \(64, 3, 3, 3\) instead of \(64, 3, 7, 7\)\.",
        ),
        ({"bn1.bias": np.zeros(32)}, r"bn1\.bias \(32,\) instead of \(64,\)\."),
    ],
)
def test_another_state_dict_is_refused(changes, message, miniature):
    before = miniature.get_weights()
    state = {**random_state_dict(), **changes}
    state = {name: x for name, x in state.items() if x is not None}
    with pytest.raises(ValueError, match=message):
        convert(state, miniature)
    for a, b in zip(miniature.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_the_first_of_many_names_are_listed(miniature):
    with pytest.raises(ValueError, match=r"lacks conv1\.weight, (\S+, ){3}\S+ and \d+ more\."):
        convert({}, miniature)


def test_strides_see_the_pixels_that_pytorch_sees(miniature):
    """A stride of 2 is centred on the even pixels, whatever is beyond the border."""
    pad = miniature.get_layer("conv1_pad")
    assert pad.padding == ((3, 3), (3, 3))
    assert miniature.get_layer("layer2_0_conv2").padding == "valid"


def test_imagenet_weights_are_the_users_to_download(monkeypatch):
    monkeypatch.setattr(backbones, "PyramidBackbone", lambda *arguments: None)
    with pytest.raises(ValueError, match="download its state dict.*Received: weights='imagenet'"):
        build_backbone("resnext101_32x8d", (64, 64), weights="imagenet")


def test_the_full_network_is_as_large_as_torchvisions():
    backbone = PyramidBackbone("resnext101_32x8d", (64, 96))
    assert {level: x.shape[1:] for level, x in backbone.output.items()} == {
        "P2": (16, 24, 256),
        "P3": (8, 12, 512),
        "P4": (4, 6, 1024),
        "P5": (2, 3, 2048),
    }
    # 88,791,336 with the classifier, 2048 x 1000 and its biases.
    assert sum(np.prod(x.shape) for x in backbone.trainable_weights) == 88_791_336 - 2_049_000
    assert len(backbone.trainable_weights) == 3 * (1 + 3 * (3 + 4 + 23 + 3) + 4)
