"""Presets of other libraries are backbones by name; here they are folders, without a download."""

import sys

import keras
import numpy as np
import pytest
from other_backbones import small_resnet

from harmonic_tf.models.backbones.backbone import (
    available_weights,
    build_backbone,
    freeze,
    pyramid_features,
)
from harmonic_tf.models.backbones.presets import PreparedBackbone

SCALE, OFFSET = [0.01, 0.02, 0.03], [-1.0, 0.0, 1.0]


@pytest.fixture
def hub_preset(tmp_path):
    backbone = small_resnet("kerashub", (None, None, 3))
    folder = tmp_path / "preset"
    backbone.save_to_preset(str(folder))
    converter = sys.modules["keras_hub"].layers.ResNetImageConverter(scale=SCALE, offset=OFFSET)
    converter.save_to_preset(str(folder))
    return backbone, f"keras_hub:{folder}"


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")


def test_a_hub_preset_prepares_its_images(hub_preset, images):
    source, name = hub_preset
    backbone = build_backbone(name, (64, 96), weights="imagenet")
    assert backbone.freeze_batch_norm
    expected, received = pyramid_features(source)(images * SCALE + OFFSET), backbone(images)
    assert received.keys() == expected.keys() == {"P2", "P3", "P4", "P5"}
    for level in expected:
        assert backbone.output[level].shape[1:] == expected[level].shape[1:]
        np.testing.assert_allclose(received[level], expected[level], rtol=1e-4, atol=1e-5)
    random = build_backbone(name, (64, 96))
    assert not np.allclose(random(images)["P5"], expected["P5"])


def test_a_cv_preset_is_found_by_its_name(tmp_path, images, monkeypatch):
    """KerasCV's `Backbone` knows no preset by its name, only the class that it is of does."""
    preset_utils = pytest.importorskip("keras_cv.src.utils.preset_utils")
    source = small_resnet("kerascv", (None, None, 3))
    preset_utils.save_to_preset(source, str(tmp_path))
    asked = set()

    def download(handle, file):
        asked.add(handle)
        return str(tmp_path / file)

    monkeypatch.setattr(preset_utils.kagglehub, "model_download", download)
    backbone = build_backbone("keras_cv:resnet50_imagenet", (64, 96), weights="imagenet")
    assert asked == {"keras/resnetv1/keras/resnet50_imagenet/2"}
    expected, received = pyramid_features(source)(images), backbone(images)
    assert received.keys() == expected.keys()
    for level in expected:
        np.testing.assert_allclose(received[level], expected[level], rtol=1e-4, atol=1e-5)


def test_a_missing_preset_is_named(tmp_path):
    pytest.importorskip("keras_hub")
    with pytest.raises(ValueError, match="backbone 'keras_hub:/no/such/preset'"):
        build_backbone("keras_hub:/no/such/preset", (64, 64))


@pytest.mark.parametrize(
    ("preset", "hint"),
    [("resnet9000", "did you mean resnet50"), ("./folder", "'keras_cv:./folder'$")],
)
def test_an_unknown_preset_is_named(preset, hint):
    pytest.importorskip("keras_cv")
    with pytest.raises(ValueError, match=f"no preset, or folder of one, .*{hint}"):
        build_backbone(f"keras_cv:{preset}", (64, 64))


def test_a_preset_that_cannot_be_had_is_one_sentence(monkeypatch):
    preset_utils = pytest.importorskip("keras_cv.src.utils.preset_utils")

    def download(handle, file):
        raise ConnectionError("a page of what a library for the network says")

    monkeypatch.setattr(preset_utils.kagglehub, "model_download", download)
    with pytest.raises(ValueError, match=r"check the network, .* \(ConnectionError\)$"):
        build_backbone("keras_cv:resnet50_imagenet", (64, 64))


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match="not installed: pip install keras-hub$"):
        build_backbone("keras_hub:resnet_50_imagenet", (64, 64))


@pytest.mark.parametrize("name, weights", [("torch:x", "none"), ("keras_cv:x", "a.h5")])
def test_another_library_or_file_is_refused(name, weights):
    with pytest.raises(ValueError, match=f"keras_hub:PRESET .*Received: '{name}' with '{weights}'"):
        build_backbone(name, (64, 64), weights=weights)


def test_weights_of_a_preset_are_not_taken_unasked():
    weights, line = available_weights("keras_hub:resnet_50_imagenet")
    assert weights == "none" and line.endswith("its own: --weights imagenet")


def test_a_prepared_backbone_is_the_backbone_on_prepared_images(images):
    source = small_resnet("kerascv", (64, 96, 3))
    backbone = PreparedBackbone(source, SCALE, OFFSET)
    expected, received = pyramid_features(source)(images * SCALE + OFFSET), backbone(images)
    for level in ("P2", "P3", "P4", "P5"):
        np.testing.assert_allclose(received[level], expected[level], rtol=1e-4, atol=1e-5)


def test_a_level_of_a_prepared_backbone_is_frozen_and_stays_so(images, tmp_path):
    images = images[:, :, :64]
    backbone = PreparedBackbone(small_resnet("kerascv"), freeze_batch_norm=True)
    everything = len(backbone.trainable_weights)
    freeze(backbone, "P3")
    assert 0 < len(backbone.trainable_weights) < everything
    backbone.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    assert again.get_config() == backbone.get_config()
    assert len(again.trainable_weights) == len(backbone.trainable_weights)
    for level in ("P2", "P5"):
        np.testing.assert_array_equal(again(images)[level], backbone(images)[level])


def test_the_last_freeze_counts_in_a_backbone_of_others_too():
    once, twice = small_resnet("kerascv"), small_resnet("kerascv")
    freeze(once, "P2")
    freeze(twice, "P4")
    freeze(twice, "P2")
    assert 0 < len(twice.trainable_weights) == len(once.trainable_weights) < len(once.weights)


def test_levels_that_share_a_layer_have_layers_of_their_own(images):
    keras_hub = pytest.importorskip("keras_hub")
    source = keras_hub.models.RetinaNetBackbone(
        small_resnet("kerashub", (64, 96, 3)),
        min_level=3,
        max_level=6,
        use_p5=True,
        image_shape=(64, 96, 3),
    )
    backbone = PreparedBackbone(source)
    assert list(backbone.pyramid_level_inputs) == ["P3", "P4", "P5", "P6"]
    for level, received in pyramid_features(backbone, ("P3", "P6"))(images).items():
        expected = pyramid_features(source, (level,))(images)[level]
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)
