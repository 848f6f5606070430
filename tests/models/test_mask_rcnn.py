"""Masks: what they are trained on, their loss, and where they are found."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import no_objects, rectangles

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import MaskRCNN
from harmonic_tf.models.ground_truth import read_ground_truth
from harmonic_tf.models.stages import Row


def build(**settings):
    keras.utils.set_random_seed(0)
    model = MaskRCNN.from_preset("mask_rcnn_tiny", num_classes=3, **settings)
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def pictures():
    return rectangles(count=2)


def mask_loss(model, y, regions, weight=None):
    """The branch's loss on regions of the head's sample, of which the first quarter may count."""
    outputs = model.network(np.zeros((len(regions), 160, 208, 3), "float32"))
    head = model.stages[-1]
    rows = {"head": Row(head, np.array(regions, "float32"), None, None)}
    truth = read_ground_truth(y, "xyxy", model.image_size, 3)
    terms = model.branches[0].loss_terms(rows, {}, outputs, truth, training=True)
    return float(model._branch_loss(model.branches[0], *terms, weight))


def logits_of(model, value):
    """Makes the mask branch say `value(class)` everywhere."""
    kernel, bias = model.branches[0].network.get_layer("mask_logits").weights
    kernel.assign(np.zeros(kernel.shape))
    bias.assign([value(c) for c in range(3)])


def test_mask_loss_is_the_mean_cross_entropy_of_the_regions_own_class():
    """An object of class 1 whose upper right quarter is missing; logit 2 for its class."""
    model = build(head_batch_size_per_image=8)
    logits_of(model, lambda c: 2.0 if c == 1 else -50.0)
    y = no_objects(1, 2)
    y["boxes"][0, 1], y["classes"][0, 1] = (20, 20, 76, 76), 1
    y["masks"][0, 1] = 1
    y["masks"][0, 1, :28, 28:] = 0
    # Two positives, the second of which is the lower half and above: 2 / 3 of it has a mask.
    rois = [[20, 20, 76, 76], [20, 34, 76, 76], *[[100, 100, 120, 120]] * 6]
    received = mask_loss(model, y, [rois])
    on, off = np.log1p(np.exp(-2.0)), np.log1p(np.exp(2.0))
    whole = 0.75 * on + 0.25 * off
    # The quarter ends at row 28 of 56; in rows 14 to 56 that is a third, of half the columns.
    lower = (5 / 6) * on + (1 / 6) * off
    # 28 cells do not divide into thirds: row 9 is on one side or the other.
    assert received == pytest.approx((whole + lower) / 2, abs=0.5 / 28 * (off - on))
    assert float(model.other_losses["mask"].result()) == pytest.approx(received)


def test_mask_loss_knows_only_positives():
    model = build(head_batch_size_per_image=8)
    y = no_objects(2, 1)
    y["boxes"][0, 0], y["classes"][0, 0], y["masks"][0, 0] = (20, 20, 60, 60), 2, 1
    rois = np.array([[[100, 100, 120, 120]] * 8, [[-1, -1, -1, -1]] * 8])
    assert mask_loss(model, y, rois) == 0


def test_mask_loss_weighs_images(pictures):
    model = build()
    y = pictures[1]
    whole, first, second = (
        mask_loss(model, y, y["boxes"], weight)
        for weight in (None, np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    )
    assert first + second == pytest.approx(whole, rel=1e-5)
    assert min(first, second) > 0


def test_masks_leave_the_compiled_loss_alone(pictures):
    """What HarmonicDet and the standard loss make of the mask branch is the same."""
    model = build()
    images, y = pictures
    outputs = model(images, training=True)
    gradients = []
    for loss in (HarmonicDetLoss, DetectionLoss):
        model.compile(optimizer="sgd", loss=loss(**model.loss_settings), run_eagerly=True)
        weights = [weight.value for weight in model.branches[0].network.trainable_weights]
        with tf.GradientTape() as tape:
            total = model.compute_loss(images, y, outputs, training=False)
        gradients.append(tape.gradient(total, weights))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a)


def test_each_detection_has_the_mask_of_its_class(pictures):
    model = build(score_threshold=0.0, max_detections=20)
    logits_of(model, lambda c: [-3.0, 0.0, 3.0][c])
    found = model.predict(pictures[0], verbose=0)
    assert found["masks"].shape == (2, 20, 28, 28)
    present = found["classes"] >= 0
    assert present.any()
    expected = 1 / (1 + np.exp([3.0, 0.0, -3.0]))
    for c in range(3):
        of_class = found["masks"][found["classes"] == c]
        np.testing.assert_allclose(of_class, expected[c], rtol=1e-5)
    assert (found["masks"][~present] == -1).all()


def test_the_format_of_boxes_changes_no_mask(pictures):
    model = build(score_threshold=0.0)
    images, _ = pictures
    other = MaskRCNN.from_preset(
        "mask_rcnn_tiny", num_classes=3, score_threshold=0.0, bounding_box_format="xywh"
    )
    other.set_weights(model.get_weights())
    a, b = (m.predict(images, verbose=0)["masks"] for m in (model, other))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_nothing_found_has_no_masks(pictures):
    found = build(score_threshold=0.999).predict(pictures[0], verbose=0)
    assert not found["num_detections"].any()
    assert (found["masks"] == -1).all()
