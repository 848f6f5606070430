"""The three heads of a cascade: which regions each sees, learns from, and how scores are joined."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_rectangles import no_objects, rectangles

from harmonic_tf import boxes
from harmonic_tf.coders import CenterSize
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models import CascadeRCNN
from harmonic_tf.models.ground_truth import read_ground_truth
from harmonic_tf.models.matching import Matching, encode_targets
from harmonic_tf.models.stages import look

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


def rows_of(model, images, y=None):
    """The rows of the three heads."""
    outputs = model(images, training=True)
    truth = None if y is None else read_ground_truth(y, "xyxy", SIZE, 3)
    rows = look(model.stages, outputs, SIZE, truth, training=y is not None)
    return [rows[f"head{i}"] for i in (1, 2, 3)], outputs, truth


def test_each_head_sees_the_boxes_of_the_one_before(pictures):
    """The first moves regions down by a tenth of their height, the second halves their width."""
    model = build()
    say(model.heads[0], deltas=[1, 0, 0, 0])
    say(model.heads[1], deltas=[0, 0, 0, np.log(0.5) / 0.1])
    first, second, third = (row.reference_boxes[0] for row in rows_of(model, pictures[0])[0])
    x1, y1, x2, y2 = np.array(first).T
    moved = np.stack([x1, y1 + (y2 - y1) / 10, x2, y2 + (y2 - y1) / 10], axis=1)
    moved = np.where((x2 > x1)[:, None], np.clip(moved, 0, [208, 160, 208, 160]), -1)
    np.testing.assert_allclose(second, moved, atol=1e-3)
    x1, y1, x2, y2 = moved.T
    narrower = np.stack([x1 + (x2 - x1) / 4, y1, x2 - (x2 - x1) / 4, y2], axis=1)
    np.testing.assert_allclose(third, narrower, atol=1e-3)


def test_scores_are_the_mean_of_the_heads(pictures):
    model = build()
    distributions = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    for head, row in zip(model.heads, distributions, strict=True):
        say(head, logits=np.log(row))
    logits = model(pictures[0])["classification"]
    scores = np.array(keras.ops.softmax(logits))
    np.testing.assert_allclose(
        scores, np.broadcast_to(distributions.mean(axis=0), scores.shape), rtol=1e-5
    )


def test_a_detection_is_where_the_third_head_moves_the_box_of_the_second(pictures):
    model = build(score_threshold=0.1)
    for head in model.heads:
        say(head, deltas=[0, 1, 0, 0], logits=[5, 0, 0, 0])
    raw = model(pictures[0])
    found = model.decode_predictions(raw, pictures[0])
    regions = np.array(raw["reference_boxes"])[0]
    expected = boxes.decode(np.array([[0, 1, 0, 0]], "float32"), regions, model.box_variance)
    expected = np.array(boxes.clip(expected, SIZE))
    for box in np.array(found["boxes"])[0, : int(found["num_detections"][0])]:
        assert np.abs(expected - box).max(axis=1).min() < 1e-3


@pytest.mark.parametrize("harmonize_stages", [False, True])
def test_the_loss_is_that_of_all_stages(pictures, harmonize_stages):
    model = build(harmonize_stages=harmonize_stages)
    images, y = pictures
    rows, outputs, truth = rows_of(model, images, y)
    expected = 0.0
    for i, row in enumerate(rows, 1):
        variance = (0.1 / i, 0.1 / i, 0.2 / i, 0.2 / i)
        matching = Matching(positive=(0.5, 0.6, 0.7)[i - 1], negative=(0.5, 0.6, 0.7)[i - 1])
        targets = encode_targets(
            row.reference_boxes, truth["boxes"], truth["classes"], CenterSize(variance), matching
        )
        exists = boxes.has_area(row.reference_boxes)
        targets["classification"] = np.where(exists, targets["classification"], -2)
        loss = HarmonicDetLoss if harmonize_stages or i == 3 else DetectionLoss
        y_pred = {"box": row.box, "classification": row.classification}
        expected += float(loss(box_variance=variance)(targets, y_pred))
    received = float(model.compute_loss(images, y, outputs, training=False))
    rpn = float(model.other_losses["rpn"].result())
    assert received == pytest.approx(expected + rpn, rel=1e-4)
    assert all(float(metric.result()) > 0 for metric in model.other_losses.values())


def test_no_gradient_flows_through_the_boxes_of_earlier_heads(pictures):
    """The loss of the third head does nothing to the deltas of the first two."""
    model = build()
    before = [head.get_layer("box").weights[0].value for head in model.heads]
    with tf.GradientTape() as tape:
        (_, _, row), outputs, truth = rows_of(model, *pictures)
        lesson = row.stage.lesson(row, outputs, truth, None)
        total = model.loss(lesson.y_true, lesson.y_pred)
    first, second, third = tape.gradient(total, before)
    assert first is None and second is None
    assert np.any(third)


def test_degenerate_regions(pictures):
    """Heads that shrink every region to nothing, or throw it out of the image."""
    model = build()
    for deltas in ([0, 0, -1e6, -1e6], [1e6, 1e6, 0, 0], [0, 0, 1e6, 1e6]):
        for head in model.heads:
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


@pytest.mark.parametrize("head", [0, 1, 2])
def test_a_head_that_is_not_finite_ends_as_a_loss_that_is_not(pictures, head):
    """Not as an index out of range, which ends the step in TensorFlow."""
    model = build()
    say(model.heads[head], deltas=[np.nan, 0, 0, 0])
    images, y = pictures
    assert np.isnan(float(model.compute_loss(images, y, model(images, training=True))))
    assert model.predict(images, verbose=0)["num_detections"].shape == (2,)
