"""FSAF: RetinaNet's heads with one prediction more a cell, two branches and one NMS."""

import numpy as np
import pytest
from detectors import build
from plain_rectangles import rectangles

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss


def test_the_branch_with_anchors_is_retinanets():
    """With the weights of the first nine predictions a cell the outputs are RetinaNet's."""
    fsaf, retinanet = build("fsaf_tiny"), build("retinanet_tiny")
    retinanet.backbone.set_weights(fsaf.backbone.get_weights())
    retinanet.network.get_layer("pyramid").set_weights(
        fsaf.network.get_layer("pyramid").get_weights()
    )
    for name, size in (("classification", 3), ("box", 4)):
        weights = fsaf.network.get_layer(f"{name}_head").get_weights()
        *tower, kernel, bias = weights
        cut = [*tower, kernel[..., : 9 * size], bias[: 9 * size]]
        retinanet.network.get_layer(f"{name}_head").set_weights(cut)
    images, _ = rectangles(count=1)
    received, expected = fsaf(images), retinanet(images)
    for key in ("box", "classification"):
        np.testing.assert_allclose(received[f"anchor_based_{key}"], expected[key], atol=1e-5)
    assert received["box"].shape[1] * 9 == expected["box"].shape[1]


def test_distances_start_from_two_strides():
    """4 * 0.5, up to what random weights of 0.01 make of it."""
    box = np.array(build("fsaf_tiny")(np.full((1, 160, 208, 3), 127.5, "float32"))["box"])
    assert box.mean() == pytest.approx(2, abs=0.4) and (box > 0).all()


def test_one_nms_merges_both_branches():
    """The same object found twice is one detection, with the score of the surer branch."""
    model = build("fsaf_tiny")
    based, free = model.stages
    anchors, squares = based.anchors((160, 208)), free.anchors((160, 208))
    predictions = {}
    for stage, count in ((based, len(anchors)), (free, len(squares))):
        predictions[stage.key("box")] = np.zeros((1, count, 4), "float32")
        predictions[stage.key("classification")] = np.full((1, count, 3), -20, "float32")
    row = 9 * 300 + 4
    predictions["anchor_based_classification"][0, row, 1] = 1.0
    same = free.coder.encode(anchors[row], squares[300])
    predictions["box"][0, 300] = same
    predictions["classification"][0, 300, 1] = 2.0
    predictions["box"][0, 17] = 2.0
    predictions["classification"][0, 17, 0] = 0.0
    found = model.decode_predictions(predictions, np.zeros((1, 160, 208, 3)))
    assert int(found["num_detections"][0]) == 2
    scores = 1 / (1 + np.exp([-2.0, 0.0]))
    np.testing.assert_allclose(found["confidence"][0, :2], scores, rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][0, 0], anchors[row], atol=1e-3)


@pytest.mark.parametrize("loss", [DetectionLoss, HarmonicDetLoss])
def test_the_loss_is_that_of_both_branches(loss):
    """Each the compiled loss by itself; the standard one has -ln IoU without anchors."""
    model = build("fsaf_tiny")
    model.compile("sgd", loss=loss())
    images, targets = rectangles(count=2)
    outputs = model(images)
    received = float(model.compute_loss(images, targets, outputs))
    based, free = model.stages
    rows = {x.name: x.read(outputs, {}, (160, 208)) for x in model.stages}
    own = {"box_loss": "log_iou"} if loss is DetectionLoss else {}
    expected = 0.0
    for stage, settings in ((based, {}), (free, own)):
        y_true = stage.encode_targets(rows[stage.name], targets)
        assert (np.array(y_true["classification"]) >= 0).sum() > 3
        y_pred = rows[stage.name].loss_inputs(y_true)
        expected += float(loss(**stage.loss_settings, **settings)(y_true, y_pred))
    assert received == pytest.approx(expected, rel=1e-5)
