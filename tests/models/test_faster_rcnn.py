"""The two stages of Faster R-CNN: what is sampled, what is judged, and degenerate input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import rectangles

from harmonic_tf.coders import CenterSize
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import FasterRCNN
from harmonic_tf.models.ground_truth import read_ground_truth
from harmonic_tf.models.matching import Matching, encode_targets
from harmonic_tf.models.stages import look, returned

# So many that all that can be is sampled, whatever the random order.
EVERYTHING = {"rpn_batch_size_per_image": 2091, "head_batch_size_per_image": 1000}


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
    assert predictions["reference_boxes"].shape == (2, 100, 4)
    assert predictions["classification"].shape == (2, 100, 4)
    assert predictions["box"].shape == ((2, 100, 4) if class_agnostic else (2, 100, 3, 4))


def test_training_stops_after_the_first_stage(pictures):
    predictions = build()(pictures[0], training=True)
    assert set(predictions) == {"cells", "rpn_box", "rpn_classification"}


def test_regions_are_learned_relative_to_themselves(pictures):
    """Positives from an IoU of 0.5, background below, ignored without area."""
    model = build()
    image_targets = {
        "boxes": np.array([[[20, 20, 60, 60]]], "float32"),
        "classes": np.array([[1]], "float32"),
    }
    rois = [[20, 20, 60, 60], [24, 20, 64, 60], [45, 20, 85, 60], [0, 0, 0, 0], [-1] * 4]
    predictions = model(pictures[0][:1])
    predictions["reference_boxes"] = np.array([rois], "float32")
    received = model.encode_targets(image_targets, predictions=predictions)
    assert np.array(received["classification"]).tolist() == [[1, 1, -1, -2, -2]]
    np.testing.assert_allclose(received["box"][0, :2], [[0] * 4, [0, -1, 0, 0]], atol=1e-5)


def lessons(model, images, targets):
    """What each stage learns, with all that can be sampled."""
    outputs = model(images, training=True)
    truth = read_ground_truth(targets, "xyxy", model.image_size, 3)
    rows = look(model.stages, outputs, model.image_size, truth, training=True)
    return [stage.lesson(rows[stage.name], outputs, truth, None) for stage in model.stages], outputs


@pytest.mark.parametrize("harmonize_rpn", [False, True])
def test_the_loss_is_that_of_both_stages(pictures, harmonize_rpn):
    model = build(harmonize_rpn=harmonize_rpn, **EVERYTHING)
    images, targets = pictures
    (_, of_head), outputs = lessons(model, images, targets)
    regions = np.concatenate([model(images)["reference_boxes"], targets["boxes"]], axis=1)
    kept = regions[..., 2] > regions[..., 0]
    y_true = of_head.y_true["classification"]
    assert np.sum(np.array(y_true) != -2, axis=1).tolist() == kept.sum(axis=1).tolist()
    assert np.sum(np.array(y_true) >= 0) > 0
    head = float(model.loss(of_head.y_true, of_head.y_pred))

    one_class = np.minimum(targets["classes"], 0)
    anchors = model.anchors(model.image_size)
    matching = Matching(positive=0.7, negative=0.3, force=True)
    y_true = encode_targets(anchors, targets["boxes"], one_class, CenterSize(), matching)
    loss = model.loss if harmonize_rpn else DetectionLoss()
    y_pred = {key: outputs[f"rpn_{key}"] for key in ("box", "classification")}
    classes = np.array(y_true["classification"])
    rpn = float(loss(y_true, y_pred)) * np.sum(classes >= 0) / np.sum(classes != -2)

    received = float(model.compute_loss(images, targets, outputs))
    assert received == pytest.approx(head + rpn, rel=1e-4)
    assert float(model.other_losses["rpn"].result()) == pytest.approx(rpn, rel=1e-4)


def test_no_gradient_flows_through_the_proposals(pictures):
    """What the head's loss does to the RPN: nothing."""
    model = build(**EVERYTHING)
    weights = [weight.value for weight in model.network.get_layer("rpn").trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        of_rpn, of_head = (
            model.loss(lesson.y_true, lesson.y_pred) for lesson in lessons(model, *pictures)[0]
        )
    assert all(tape.gradient(of_head, weight) is None for weight in weights)
    assert all(np.any(tape.gradient(of_rpn, weight)) for weight in weights)


def test_ground_truth_is_among_the_regions(pictures):
    model = build()
    images, targets = pictures
    outputs = model(images, training=True)
    truth = read_ground_truth(targets, "xyxy", model.image_size, 3)
    row = look(model.stages, outputs, model.image_size, truth, model.seed_generator)["head"]
    for image in range(2):
        for box in targets["boxes"][image, :3]:
            assert np.abs(row.reference_boxes[image] - box).max(axis=1).min() < 1e-3


@pytest.mark.parametrize("room", [0, 1])
def test_an_image_without_objects(pictures, room):
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
    outputs = {**first, "rpn_classification": sure}
    assert np.isfinite(float(model.compute_loss(images, targets, outputs)))
    second = returned(look(model.stages, outputs, model.image_size))
    assert (np.array(second["reference_boxes"]) == -1).all()
    assert np.isfinite(np.array(second["classification"])).all()
    found = model.decode_predictions({**outputs, **second}, images)
    assert not np.any(found["num_detections"])
