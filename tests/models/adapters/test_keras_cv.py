"""What KerasCV's users type goes on working on a harmonised RetinaNet."""

import keras
import keras_cv
import numpy as np
import pytest
from keras_cv.src.utils.preset_utils import save_to_preset
from others import SIZE, assert_same, data, retinanet, seeded

from harmonic_tf import harmonize
from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models import PyramidBackbone
from harmonic_tf.models.adapters import KerasCVRetinaNet

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning")


def test_metrics_of_detections():
    """They judge what `predict` finds, and make way for others in the next `compile`."""
    decoder = keras_cv.layers.NonMaxSuppression("xywh", from_logits=True, confidence_threshold=0.0)
    model = harmonize(seeded(retinanet, "xywh", prediction_decoder=decoder))
    images, targets = data(retinanet)
    found = model.predict(images, verbose=0)
    best = {"boxes": found["boxes"][:, :2], "classes": found["classes"][:, :2]}
    best["classes"] = best["classes"].astype("float32")
    for name in ("first", "second"):
        metric = keras_cv.metrics.BoxCOCOMetrics("xywh", evaluate_freq=1, name=name)
        model.compile("sgd", HarmonicDetLoss(), metrics=[metric], run_eagerly=True)
    model.evaluate(images, targets, verbose=0)
    history = model.fit(
        images, targets, validation_data=(images, best), verbose=0, callbacks=[Restore(model)]
    ).history
    assert history["val_second_Recall@[max_detections=100]"][0] > 0.9
    assert not any("first" in name for name in history)


class Restore(keras.callbacks.Callback):
    """Takes back the step of training, so that validation sees what was predicted before."""

    def __init__(self, model):
        super().__init__()
        self.weights = model.get_weights()

    def on_test_begin(self, logs=None):
        self.model.set_weights(self.weights)


def test_presets(tmp_path):
    """`from_preset` is KerasCV's, with its arguments."""
    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[16, 24, 32, 48],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
        input_shape=(*SIZE, 3),
    )
    save_to_preset(backbone, str(tmp_path / "preset"))
    detector = keras_cv.models.RetinaNet.from_preset(
        str(tmp_path / "preset"), num_classes=3, bounding_box_format="xywh"
    )
    model = harmonize(detector)
    model.compile("adam", loss=HarmonicDetLoss(), run_eagerly=True)
    assert model.bounding_box_format == "xywh"
    weight = model.backbone.weights[0].numpy()
    np.testing.assert_array_equal(weight, backbone.weights[0])
    assert model.train_on_batch(*data(retinanet))[0] > 0
    assert np.abs(model.backbone.weights[0].numpy() - weight).max() > 0


def test_the_former_name():
    detector = seeded(retinanet)
    with pytest.warns(DeprecationWarning, match="harmonize"):
        model = KerasCVRetinaNet(PyramidBackbone("tiny", SIZE), num_classes=3)
    model.set_weights(detector.get_weights())
    images, _ = data(retinanet)
    assert_same(model(images), detector(images))


def test_it_is_exported_as_the_detector_is(tmp_path):
    import tensorflow as tf

    model = harmonize(seeded(retinanet))
    model.export(tmp_path / "served", verbose=False)
    images, _ = data(retinanet)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    served = loaded.serve({"images": images})
    for key, value in model({"images": images}).items():
        np.testing.assert_allclose(served[key], value, atol=1e-4)
