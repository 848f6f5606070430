import keras
import numpy as np
import pytest

from harmonic_tf import models
from harmonic_tf.models.backbones import freeze
from harmonic_tf.models.heads import feature_network, head_network

SIZE = (64, 64)


@pytest.mark.parametrize("preset", ["refinedet_tiny", "retinanet_tiny", "faster_rcnn_tiny"])
def test_heads_on_feature_maps_are_the_detector_on_images(preset):
    model = models.from_preset(preset, 2, image_size=SIZE)
    freeze(model.backbone, "all")
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    maps = feature_network(model)(images)
    wanted = model(images, training=True)
    found = head_network(model)(tuple(maps.values()), training=True)
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name])
    weights = {id(weight) for weight in model.weights}
    assert all(id(weight) in weights for weight in head_network(model).weights)


def test_a_frozen_backbone_is_not_trained_nor_is_that_of_a_copy():
    model = models.from_preset("faster_rcnn_tiny", 2, image_size=SIZE)
    whole = len(model.trainable_weights)
    freeze(model.backbone, "all")
    assert 0 < len(model.trainable_weights) < whole
    assert not model.backbone.trainable_weights
    assert model.backbone.frozen_level == "all"
    again = type(model).from_config(model.get_config())
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    assert keras.tree.flatten(again.backbone.trainable_weights) == []
