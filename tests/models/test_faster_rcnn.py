"""The two stages of Faster R-CNN: what is sampled, what is judged, and degenerate input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import rectangles

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import FasterRCNN

# So many that all that can be is sampled, whatever the random order.
EVERYTHING = {"rpn_batch": 2091, "head_batch": 1000}


def build(**settings):
    keras.utils.set_random_seed(0)
    model = FasterRCNN.from_preset("faster_rcnn_tiny", num_classes=3, **settings)
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def pictures():
    return rectangles(count=2)


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_shapes_of_predictions(pictures, class_agnostic):
    predictions = build(class_agnostic=class_agnostic)(pictures[0])
    assert predictions["rois"].shape == (2, 100, 4)
    assert predictions["classification"].shape == (2, 100, 4)
    assert predictions["box"].shape == ((2, 100, 4) if class_agnostic else (2, 100, 3, 4))


def test_training_stops_after_the_first_stage(pictures):
    predictions = build()(pictures[0], training=True)
    assert set(predictions) == {"cells", "rpn_box", "rpn_classification"}


def test_each_region_is_judged_by_the_box_of_its_class():
    model = build()
    box = np.arange(2 * 3 * 4, dtype="float32").reshape(1, 2, 3, 4)
    predictions = {"box": box, "classification": np.zeros((1, 2, 4), "float32")}
    received = model.loss_inputs(predictions, {"classification": np.array([[2.0, -1.0]])})
    np.testing.assert_array_equal(received["box"], [[box[0, 0, 2], box[0, 1, 0]]])


def test_regions_are_learned_relative_to_themselves(pictures):
    """Positives from an IoU of 0.5, background below, ignored without area."""
    model = build()
    image_targets = {
        "boxes": np.array([[[20, 20, 60, 60]]], "float32"),
        "classes": np.array([[1]], "float32"),
    }
    rois = [[20, 20, 60, 60], [24, 20, 64, 60], [45, 20, 85, 60], [0, 0, 0, 0], [-1] * 4]
    predictions = {"rois": np.array([rois], "float32")}
    received = model.encode_targets(image_targets, predictions=predictions)
    assert np.array(received["classification"]).tolist() == [[1, 1, -1, -2, -2]]
    np.testing.assert_allclose(received["box"][0, :2], [[0] * 4, [0, -1, 0, 0]], atol=1e-5)


@pytest.mark.parametrize("harmonize_rpn", [False, True])
def test_the_loss_is_that_of_both_stages(pictures, harmonize_rpn):
    model = build(harmonize_rpn=harmonize_rpn, **EVERYTHING)
    images, targets = pictures
    first = model(images, training=True)
    candidates = np.concatenate([model._propose(first), targets["boxes"]], axis=1)
    second = model._head_predictions(
        model.head, first["cells"], tf.constant(candidates), training=True
    )
    y_true = model.encode_targets(targets, predictions=second)
    assert np.sum(np.array(y_true["classification"]) >= 0) > 0
    head = model.loss(y_true, model.loss_inputs(second, y_true))

    one_class = {**targets, "classes": np.minimum(targets["classes"], 0)}
    matching = {"positive_threshold": 0.7, "negative_threshold": 0.3, "force": True}
    anchors = model.anchors(model.image_size)
    y_true = model._targets(one_class, model.image_size, anchors, matching, model.box_variance)
    loss = model.loss if harmonize_rpn else DetectionLoss(**model.loss_settings)
    y_pred = {key: first[f"rpn_{key}"] for key in ("box", "classification")}
    classes = np.array(y_true["classification"])
    rpn = loss(y_true, y_pred) * np.sum(classes >= 0) / np.sum(classes != -2)

    received = float(model.compute_loss(images, targets, first))
    assert received == pytest.approx(float(head + rpn), rel=1e-4)
    assert float(model.rpn_metric.result()) == pytest.approx(float(rpn), rel=1e-4)


def test_no_gradient_flows_through_the_proposals(pictures):
    """What the head's loss does to the RPN: nothing."""
    model = build(**EVERYTHING)
    images, targets = pictures
    weights = [weight.value for weight in model.first_stage.get_layer("rpn").trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        predictions = model(images, training=True)
        total = model.compute_loss(images, targets, predictions)
        own = model.further_losses(targets, model.image_size, predictions, None)
    for weight in weights:
        received, expected = tape.gradient(total, weight), tape.gradient(own, weight)
        np.testing.assert_allclose(received, expected, atol=1e-6)
        assert np.any(expected)


def test_ground_truth_is_among_the_regions(pictures):
    model = build()
    images, targets = pictures
    rois = np.array(model.last_stage(targets, model(images), model.image_size)["rois"])
    for image in range(2):
        for box in targets["boxes"][image, :3]:
            assert np.abs(rois[image] - box).max(axis=1).min() < 1e-3


@pytest.mark.parametrize("room", [0, 1])
def test_a_image_without_objects(pictures, room):
    model = build()
    targets = {"boxes": np.full((2, room, 4), -1.0), "classes": np.full((2, room), -1.0)}
    loss = model.compute_loss(pictures[0], targets, model(pictures[0], training=True))
    assert np.isfinite(float(loss)) and float(loss) > 0


def test_no_proposals_at_all(pictures):
    """The RPN is sure of background everywhere: only the ground truth is left, or nothing."""
    model = build()
    images, targets = pictures
    first = model(images, training=True)
    sure = np.full(first["rpn_classification"].shape, [-1000, 1000], "float32")
    predictions = {**first, "rpn_classification": sure}
    assert np.isfinite(float(model.compute_loss(images, targets, predictions)))
    rois = model._propose(predictions)
    assert (np.array(rois) == -1).all()
    second = model._head_predictions(model.head, predictions["cells"], rois, training=False)
    assert np.isfinite(np.array(second["classification"])).all()
    found = model.decode_predictions({**predictions, **second}, images)
    assert not np.any(found["num_detections"])
