"""What the adapter keeps of KerasCV's RetinaNet, and what it changes."""

import keras
import keras_cv
import numpy as np
import pytest
from plain_rectangles import batches, rectangles

from harmonic_tf.losses import HarmonicDetLoss
from harmonic_tf.models import PyramidBackbone
from harmonic_tf.models.adapters import KerasCVRetinaNet

SIZE = (128, 192)  # KerasCV's feature pyramid needs multiples of 32
# KerasCV's own model takes a dictionary, and Keras warns where it gets the images alone.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning")


def arguments():
    return {
        "backbone": PyramidBackbone("tiny", SIZE),
        "num_classes": 3,
        "bounding_box_format": "xyxy",
    }


def batch(count):
    images, targets = rectangles(count, SIZE)
    return images, {key: value[:, :3] for key, value in targets.items()}  # theirs knows no padding


@pytest.fixture(scope="module")
def theirs():
    keras.utils.set_random_seed(0)
    return keras_cv.models.RetinaNet(**arguments())


@pytest.fixture(scope="module")
def ours(theirs):
    """The same network built with KerasCV's arguments alone."""
    model = KerasCVRetinaNet(**arguments())
    model.set_weights(theirs.get_weights())
    return model


def test_is_a_kerascv_retinanet(ours):
    assert isinstance(ours, keras_cv.models.RetinaNet)


def test_network_is_kerascvs(ours, theirs):
    images, _ = batch(1)
    expected, received = theirs({"images": images}), ours(images)
    for key in ("box", "classification"):
        np.testing.assert_allclose(received[key], expected[key], atol=1e-6)


def test_targets_are_kerascvs(ours, theirs):
    images, targets = batch(2)
    boxes, classes = theirs.label_encoder(images, targets)
    received = ours.encode_targets(targets)
    np.testing.assert_array_equal(received["classification"], classes)
    positive = np.array(classes) >= 0
    assert positive.sum() > 10
    np.testing.assert_allclose(
        np.array(received["box"])[positive], np.array(boxes)[positive], atol=1e-4
    )


def test_kerascvs_own_losses_still_work(ours, theirs, tmp_path):
    images, targets = batch(2)
    data = batches((images, targets))
    histories = []
    for model in (theirs, ours):
        model.compile(
            optimizer="sgd", box_loss="smoothl1", classification_loss="focal", run_eagerly=True
        )
        histories.append(model.evaluate(data, verbose=0, return_dict=True))
    assert histories[1]["loss"] == pytest.approx(histories[0]["loss"], rel=1e-5)
    assert set(histories[1]) == set(histories[0])
    ours.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(data, verbose=0, return_dict=True) == histories[1]


def test_both_ways_at_once_are_refused(ours):
    with pytest.raises(ValueError, match="Pass either `loss`"):
        ours.compile(loss="focal", box_loss="smoothl1", classification_loss="focal")


def test_a_given_decoder_is_used_and_kept():
    decoder = keras_cv.layers.NonMaxSuppression(
        bounding_box_format="xyxy", from_logits=True, confidence_threshold=0.0, max_detections=5
    )
    model = KerasCVRetinaNet(PyramidBackbone("tiny", (64, 64)), 2, prediction_decoder=decoder)
    images = np.zeros((1, 64, 64, 3), "float32")
    assert np.array(model.decode_predictions(model(images), images)["boxes"]).shape == (1, 5, 4)
    again = KerasCVRetinaNet.from_config(model.get_config())
    assert again.custom_decoder.max_detections == 5


def test_trains_jointly_and_is_kept(ours, tmp_path):
    images, targets = batch(2)
    ours.compile(optimizer="sgd", loss=HarmonicDetLoss(**ours.loss_settings), run_eagerly=True)
    before = ours.test_on_batch(images, targets, return_dict=True)
    assert {"loss", "box_loss", "inconsistency"} <= set(before)
    assert ours.train_on_batch(images, targets)[0] > 0
    ours.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected, received = (model.predict(images, verbose=0) for model in (ours, loaded))
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key], err_msg=key)
