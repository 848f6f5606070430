"""RetinaNet: KerasCV's network, anchors and targets, and where it differs on purpose."""

import keras
import numpy as np
import pytest
from plain_rectangles import rectangles

from harmonic_tf.models import PyramidBackbone, RetinaNet


@pytest.fixture(scope="module")
def pair():
    """KerasCV's, whose heads are 3 deep, and ours with the same weights."""
    keras_cv = pytest.importorskip("keras_cv")
    keras.utils.set_random_seed(0)
    size = (128, 192)
    theirs = keras_cv.models.RetinaNet(
        backbone=PyramidBackbone("tiny", size), num_classes=3, bounding_box_format="xyxy"
    )
    ours = RetinaNet(PyramidBackbone("tiny", size), 3, depth=3, force=False)
    ours.set_weights(theirs.get_weights())
    return ours, theirs


@pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning")
def test_outputs_are_kerascvs(pair):
    ours, theirs = pair
    images, _ = rectangles(1, (128, 192))
    expected, received = theirs({"images": images}), ours(images)
    for key in ("box", "classification"):
        assert np.std(expected[key]) > 0.01
        np.testing.assert_allclose(received[key], expected[key], atol=1e-6)


def test_targets_are_kerascvs(pair):
    ours, theirs = pair
    images, targets = rectangles(2, (128, 192))
    targets = {key: value[:, :3] for key, value in targets.items()}  # theirs knows no padding
    boxes, classes = theirs.label_encoder(images, targets)
    received = ours.encode_targets(targets)
    np.testing.assert_array_equal(received["classification"], classes)
    positive = np.array(classes) >= 0
    assert positive.sum() > 10
    np.testing.assert_allclose(
        np.array(received["box"])[positive], np.array(boxes)[positive], atol=1e-4
    )


@pytest.mark.parametrize("size", [(160, 208), (97, 130)])
def test_anchors_are_kerascvs_at_any_size(size):
    keras_cv = pytest.importorskip("keras_cv")
    model = RetinaNet(PyramidBackbone("tiny", (None, None)), 3)
    generator = keras_cv.models.RetinaNet.default_anchor_generator("xyxy")
    expected = np.concatenate(list(generator(image_shape=(*size, 3)).values()))
    np.testing.assert_allclose(model.anchors(size), expected, atol=1e-3)
    if size[0] % 32 == 0:
        assert model(np.zeros((1, *size, 3)))["box"].shape == (1, len(expected), 4)


def test_every_object_has_an_anchor():
    """One of 4 x 4 px, whose IoU with all anchors is below 0.1."""
    model = RetinaNet.from_preset("retinanet_tiny", num_classes=2)
    targets = {"boxes": np.array([[[50, 50, 54, 54]]]), "classes": np.array([[1]])}
    labels = np.array(model.encode_targets(targets)["classification"])
    assert (labels >= 0).sum() == 1
    config = {**model.get_config(), "force": False}
    labels = np.array(RetinaNet.from_config(config).encode_targets(targets)["classification"])
    assert (labels == -1).all()


def test_new_heads_start_from_the_prior():
    model = RetinaNet.from_preset("retinanet_tiny", num_classes=2)
    scores = keras.ops.sigmoid(model(np.full((1, 160, 208, 3), 127.5, "float32"))["classification"])
    assert float(np.mean(scores)) == pytest.approx(0.01, rel=0.2)
