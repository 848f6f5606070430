"""The two stages of RefineDet: refined and filtered anchors, and the loss of each stage."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import batches, rectangles

from harmonic_tf import boxes
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import RefineDet
from harmonic_tf.models.ground_truth import read_ground_truth
from harmonic_tf.models.stages import look, read


def build(**settings):
    keras.utils.set_random_seed(0)
    return RefineDet.from_preset("refinedet_tiny", num_classes=3, **settings)


def raw(model, images, **changes):
    return {**model(images), **changes}


def arm_logits(model, background):
    """`(2, A, 2)`: object and background with these probabilities of background."""
    count = len(model.anchors(model.image_size))
    p = np.full((2, count), 0.5)
    p[:, : len(background)] = background
    return np.log(np.stack([1 - p, p], axis=-1)).astype("float32")


@pytest.fixture(scope="module")
def pictures():
    return rectangles(count=2)


def test_references_are_the_anchors_moved_by_the_arm(pictures):
    model = build()
    predictions = raw(model, pictures[0])
    anchors = model.anchors(model.image_size)
    expected = boxes.decode(predictions["arm_box"], anchors, model.box_variance)
    received = model.reference_boxes(model.image_size, predictions)
    np.testing.assert_allclose(received, expected, rtol=1e-6)
    still = {**predictions, "arm_box": np.zeros(predictions["arm_box"].shape, "float32")}
    received = model.reference_boxes(model.image_size, still)
    np.testing.assert_allclose(received, [anchors, anchors], atol=1e-3)
    with pytest.raises(ValueError, match="depend on its predictions"):
        model.reference_boxes(model.image_size)


def test_targets_are_relative_to_the_refined_anchors(pictures):
    """An ARM that moves every anchor one pixel right: targets one pixel less, and matched so."""
    model = build()
    images, targets = pictures
    anchors = model.anchors(model.image_size)
    moved = boxes.encode(anchors + np.float32([1, 0, 1, 0]), anchors, model.box_variance)
    predictions = raw(
        model,
        images,
        arm_box=np.repeat(np.array(moved)[None], 2, axis=0),
        arm_classification=arm_logits(model, []),
    )
    received = model.encode_targets(targets, predictions=predictions)
    shifted = np.where(
        targets["classes"][..., None] >= 0, targets["boxes"] - np.float32([1, 0, 1, 0]), -1
    )
    still = {**predictions, "arm_box": np.zeros_like(predictions["arm_box"])}
    expected = model.encode_targets({**targets, "boxes": shifted}, predictions=still)
    np.testing.assert_array_equal(received["classification"], expected["classification"])
    assert np.sum(np.array(received["classification"]) >= 0) > 10
    np.testing.assert_allclose(received["box"], expected["box"], atol=2e-3)


def test_anchors_that_are_surely_background_are_left_out(pictures):
    model = build(negative_threshold=0.9)
    predictions = raw(
        model, pictures[0], arm_classification=arm_logits(model, [0.89, 0.91, 0.999, 0.1])
    )
    classes = np.array(model.encode_targets(pictures[1], predictions=predictions)["classification"])
    assert (classes[:, [1, 2]] == -2).all()
    assert (classes[:, [0, 3]] != -2).all() and (classes[:, 4:] != -2).all()
    everywhere = arm_logits(model, np.full(classes.shape[1], 0.999))
    predictions_of_nothing = {**predictions, "arm_classification": everywhere}
    without = model.encode_targets(pictures[1], predictions=predictions_of_nothing)
    np.testing.assert_array_equal(without["classification"], np.where(classes >= 0, classes, -2))
    row = read(model.stages, predictions, model.image_size)["odm"]
    scores = np.array(row.detections(model.image_size)[1])
    assert not scores[:, [1, 2]].any()
    assert (scores[:, [0, 3]] > 0).all()


@pytest.mark.parametrize("harmonize_arm", [False, True])
def test_the_loss_is_that_of_both_stages(pictures, harmonize_arm):
    model = build(harmonize_arm=harmonize_arm)
    loss = HarmonicDetLoss(**model.loss_settings)
    model.compile(optimizer="sgd", loss=loss, run_eagerly=True)
    images, targets = pictures
    predictions = model(images)
    odm = loss(
        model.encode_targets(targets, predictions=predictions),
        {key: predictions[key] for key in ("box", "classification")},
    )
    still = {
        **predictions,
        "arm_box": np.zeros(predictions["box"].shape, "float32"),
        "arm_classification": arm_logits(model, []),
    }
    one_class = np.minimum(targets["classes"], 0)
    arm_targets = model.encode_targets({**targets, "classes": one_class}, predictions=still)
    arm_loss = loss if harmonize_arm else DetectionLoss(**model.loss_settings)
    arm = arm_loss(
        arm_targets,
        {"box": predictions["arm_box"], "classification": predictions["arm_classification"]},
    )
    received = model.evaluate(batches((images, targets)), verbose=0, return_dict=True)
    assert received["loss"] == pytest.approx(float(odm + arm), rel=1e-4)
    assert received["arm_loss"] == pytest.approx(float(arm), rel=1e-4)


def test_the_last_stage_sends_no_gradient_through_the_anchors(pictures):
    """Only the ARM's own loss reaches its deltas."""
    model = build()
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings))
    images, targets = pictures
    predictions = {key: tf.Variable(value) for key, value in model(images).items()}

    with tf.GradientTape(persistent=True) as tape:
        rows = look(model.stages, predictions, model.image_size)
        truth = read_ground_truth(targets, "xyxy", model.image_size, 3)
        arm, odm = (
            model.loss(lesson.y_true, lesson.y_pred)
            for lesson in (row.stage.lesson(row, {}, truth, None) for row in rows.values())
        )
    assert tape.gradient(odm, predictions["arm_box"]) is None
    assert np.abs(tape.gradient(arm, predictions["arm_box"])).max() > 0


def test_a_broken_arm_stays_visible(pictures):
    model = build()
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings))
    images, targets = pictures
    predictions = model(images)
    broken = np.array(predictions["arm_box"])
    broken[0, 0, 0] = np.nan
    assert np.isnan(float(model.compute_loss(images, targets, {**predictions, "arm_box": broken})))


def test_every_anchor_left_out(pictures):
    model = build()
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings))
    images, targets = pictures
    logits = np.full((2, len(model.anchors(model.image_size)), 2), [-40, 40], "float32")
    predictions = raw(model, images, arm_classification=logits)
    assert np.isfinite(float(model.compute_loss(images, targets, predictions)))
    found = model.decode_predictions(predictions, images)
    assert not np.any(found["num_detections"])
