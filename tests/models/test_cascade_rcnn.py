"""The three heads of a cascade: which regions each sees, learns from, and how scores are joined."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import no_objects, rectangles

from harmonic_tf import boxes
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import CascadeRCNN

SIZE = (160, 208)


def build(loss=HarmonicDetLoss, **settings):
    keras.utils.set_random_seed(0)
    model = CascadeRCNN.from_preset("cascade_rcnn_tiny", num_classes=3, **settings)
    model.compile(optimizer="sgd", loss=loss(**model.loss_settings), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def pictures():
    return rectangles(count=2)


def say(head, deltas=(0, 0, 0, 0), logits=(0, 0, 0, 0)):
    """Makes a head predict the same for every region."""
    for name, values in (("box", deltas), ("classification", logits)):
        kernel, bias = head.get_layer(name).weights
        kernel.assign(np.zeros(kernel.shape))
        bias.assign(values)


def heads(model):
    return [model.head, *model.later_heads]


def test_each_head_sees_the_boxes_of_the_one_before(pictures):
    """The first moves regions down by a tenth of their height, the second halves their width."""
    model = build()
    say(model.head, deltas=[1, 0, 0, 0])
    say(model.later_heads[0], deltas=[0, 0, 0, np.log(0.5) / 0.1])
    first = np.array([[[20, 40, 60, 80], [100, 100, 140, 158], [-1, -1, -1, -1]]], "float32")
    cells = model.first_stage(np.zeros((1, *SIZE, 3), "float32"))["cells"]
    looked = model._head_predictions(model.head, cells, first, training=False)
    _, second, third = model._stages({"cells": cells, **looked}, training=False)
    moved = [[20, 44, 60, 84], [100, 105.8, 140, 160], [-1] * 4]
    np.testing.assert_allclose(second["rois"][0], moved, atol=1e-3)
    narrower = [[30, 44, 50, 84], [110, 105.8, 130, 160], [-1] * 4]
    np.testing.assert_allclose(third["rois"][0], narrower, atol=1e-3)


def test_scores_are_the_mean_of_the_heads(pictures):
    model = build()
    distributions = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    for head, row in zip(heads(model), distributions, strict=True):
        say(head, logits=np.log(row))
    scores = np.array(model.scores(model(pictures[0])))
    np.testing.assert_allclose(
        scores, np.broadcast_to(distributions.mean(axis=0)[:3], scores.shape), rtol=1e-5
    )


def test_a_detection_is_where_the_third_head_moves_the_box_of_the_second(pictures):
    model = build(score_threshold=0.1)
    say(model.head, deltas=[0, 1, 0, 0], logits=[5, 0, 0, 0])
    say(model.later_heads[0], deltas=[0, 1, 0, 0], logits=[5, 0, 0, 0])
    say(model.later_heads[1], deltas=[0, 1, 0, 0], logits=[5, 0, 0, 0])
    raw = model(pictures[0])
    found = model.decode_predictions(raw, pictures[0])
    regions = np.array(raw["rois"])[0]
    expected = boxes.decode(np.array([[0, 1, 0, 0]], "float32"), regions, model.box_variance)
    expected = np.array(boxes.clip(expected, SIZE))
    for box in np.array(found["boxes"])[0, : int(found["num_detections"][0])]:
        assert np.abs(expected - box).max(axis=1).min() < 1e-3


@pytest.mark.parametrize("harmonize_stages", [False, True])
def test_the_loss_is_that_of_all_stages(pictures, harmonize_stages):
    model = build(harmonize_stages=harmonize_stages)
    images, y = pictures
    predictions = model.last_stage(y, model(images, training=True), SIZE)
    stages = [*predictions["earlier_stages"], predictions]
    expected = 0.0
    for i, stage in enumerate(stages):
        variance = (0.1 / (i + 1), 0.1 / (i + 1), 0.2 / (i + 1), 0.2 / (i + 1))
        iou = (0.5, 0.6, 0.7)[i]
        matching = {"positive_threshold": iou, "negative_threshold": iou, "force": False}
        targets = model._targets(y, SIZE, stage["rois"], matching, variance)
        harmonic = harmonize_stages or i == 2
        loss = HarmonicDetLoss if harmonic else DetectionLoss
        y_pred = {key: stage[key] for key in ("box", "classification")}
        expected += float(loss(box_variance=variance)(targets, y_pred))
    model.last_stage = lambda *_: predictions
    model.rpn_metric.reset_state()
    received = float(model.compute_loss(images, y, predictions))
    rpn = float(model.rpn_metric.result())
    assert received == pytest.approx(expected + rpn, rel=1e-4)
    assert all(float(metric.result()) > 0 for metric in model.stage_metrics)


def test_no_gradient_flows_through_the_boxes_of_earlier_heads(pictures):
    """The loss of the third head does nothing to the deltas of the first two."""
    model = build()
    images, y = pictures
    before = [head.get_layer("box").weights[0].value for head in heads(model)]
    with tf.GradientTape() as tape:
        predictions = model.last_stage(y, model(images, training=True), SIZE)
        targets = model.encode_targets(y, predictions=predictions)
        total = model.loss(targets, model.loss_inputs(predictions, targets))
    first, second, third = tape.gradient(total, before)
    assert first is None and second is None
    assert np.any(third)


def test_degenerate_regions(pictures):
    """Heads that shrink every region to nothing, or throw it out of the image."""
    model = build()
    for deltas in ([0, 0, -1e6, -1e6], [1e6, 1e6, 0, 0], [0, 0, 1e6, 1e6]):
        for head in heads(model):
            say(head, deltas=deltas)
        images, y = pictures
        assert np.isfinite(float(model.compute_loss(images, y, model(images, training=True))))
        found = model.predict(images, verbose=0)
        assert np.isfinite(found["boxes"]).all() and np.isfinite(found["confidence"]).all()


def test_no_objects(pictures):
    model = build(harmonize_stages=True)
    images, y = pictures[0], no_objects(2, 1)
    loss = float(model.compute_loss(images, y, model(images, training=True)))
    assert np.isfinite(loss) and loss > 0


def test_what_the_deltas_depend_on_is_asked_for():
    with pytest.raises(ValueError, match="CascadeRCNN are relative to depend on its predictions"):
        build().encode_targets(no_objects(1, 1))
