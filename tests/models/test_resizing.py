import keras
import numpy as np
import pytest
from other_backbones import LIBRARIES, small_resnet, ssd_on

from harmonic_tf import models
from harmonic_tf.models.backbones import PreparedBackbone
from harmonic_tf.models.resizing import resize_detector

TINY = sorted(name for name in models.PRESETS if name.endswith("_tiny"))


def pictures(size):
    return np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")


def detect(model, images):
    found = model.decode_predictions(model(images, training=False), images)
    return {key: np.asarray(value) for key, value in found.items()}


@pytest.mark.parametrize("preset", TINY)
def test_a_detector_is_the_same_at_its_own_size_and_runs_at_another(preset):
    model = models.from_preset(preset, num_classes=2, score_threshold=0.0)
    again = resize_detector(model, model.image_size)
    assert again is not model and type(again) is type(model)
    images = pictures(model.image_size)
    expected, received = detect(model, images), detect(again, images)
    assert expected["num_detections"][0] > 0
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key], err_msg=key)

    other = resize_detector(model, (96, 176))
    assert other.image_size == (96, 176) and model.image_size == (160, 208)
    assert other.decoding == model.decoding
    if preset not in ("retinanet_tiny", "fsaf_tiny"):  # clip their anchors to the image
        largest = [np.ptp(m.anchors(m.image_size)[:, 1::2], axis=1).max() for m in (other, model)]
        assert largest[0] == pytest.approx(largest[1])
    found = detect(other, pictures((96, 176)))
    count = found["num_detections"][0]
    assert count > 0
    assert np.all(found["boxes"][0, :count] <= [176, 96, 176, 96])


@pytest.mark.parametrize("library", LIBRARIES)
def test_other_backbones(library):
    model = ssd_on(library)
    other = resize_detector(model, (96, 128))
    assert other.image_size == (96, 128)
    assert other.network.output["box"].shape == (None, 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2, 4)


def test_a_backbone_inside_another():
    backbone = PreparedBackbone(small_resnet("kerascv"), scale=0.5)
    model = models.SSD(backbone, num_classes=2, anchor_shapes=[[(16, 16)]] * 4, filters=8)
    other = resize_detector(model, (96, 128))
    assert other.image_size == (96, 128) and other.backbone.scale == 0.5
    for received, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_too_small_a_size_is_refused():
    model = models.from_preset("ssd_tiny", num_classes=2, last_padding="valid")
    with pytest.raises(ValueError, match="This SSD cannot be built for images of 32 x 48 pixels"):
        resize_detector(model, (32, 48))


def test_the_reason_is_told():
    """Images that are large enough, of a detector whose arguments no longer fit together."""
    model = models.from_preset("ssd_tiny", num_classes=2)
    model.settings["levels"] = ("P3", "P9")
    with pytest.raises(ValueError, match="cannot be built for images of 160 x 208.* no level P9"):
        resize_detector(model, (160, 208))


def test_a_backbone_that_does_not_say_its_size_is_refused():
    images = keras.Input((64, 64, 3))
    backbone = keras.Model(images, keras.layers.Conv2D(4, 3, 8, name="conv")(images))
    backbone.pyramid_level_inputs = {"P3": "conv"}
    model = models.SSD(
        backbone, num_classes=2, levels=["P3"], anchor_shapes=[[(16, 16)]], filters=None
    )
    with pytest.raises(ValueError, match="'image_size' or 'input_shape'.*Received: Functional"):
        resize_detector(model, (96, 128))
