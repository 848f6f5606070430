"""Degenerate targets and extreme predictions: finite, right, and NaN where something is broken."""

import functools

import numpy as np
import pytest
from differentiate import differentiator
from keras import ops
from reference import FORMS

from harmonic_tf.losses import (
    DetectionLoss,
    HarmonicDetLoss,
    HarmonicIoULoss,
    TaskContrastiveLoss,
)

every_form = pytest.mark.parametrize("form", FORMS)
every_mode = pytest.mark.parametrize("mode", ["eager", "graph", "xla"])

ROWS, CLASSES = 6, 3
LOG_HALF = 5 * np.log(0.5)


@functools.cache
def harmonic_det(form, mode="eager"):
    return differentiator(HarmonicDetLoss(form), mode)


@functools.cache
def detection(form):
    return differentiator(DetectionLoss(form))


def case(form, classes=(0, 1, -1, -1, -2, -1), box_true=0.0, box_pred=0.0, seed=0):
    """One image of six rows; the two boxes are broadcast to all of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(1, ROWS, CLASSES + (form == "softmax")))
    y_true = {
        "box": np.broadcast_to(box_true, (1, ROWS, 4)).astype("float32"),
        "classification": np.array([classes], "float32"),
    }
    y_pred = {
        "box": np.broadcast_to(box_pred, (1, ROWS, 4)).astype("float32"),
        "classification": logits.astype("float32"),
    }
    return y_true, y_pred


def assert_finite(value, gradients):
    assert np.isfinite(value)
    for key, gradient in gradients.items():
        assert np.isfinite(gradient).all(), key


@every_form
@pytest.mark.parametrize("classes", [[-1] * 6, [-1, -2, -1, -2, -2, -1]])
def test_without_positives_only_the_negatives_count_over_one(form, classes):
    batch = case(form, classes, box_true=-1, box_pred=1)
    value, gradients = harmonic_det(form)(*batch)
    logits = batch[1]["classification"].astype("float64")[0]
    if form == "softmax":
        of_rows = np.log(np.exp(logits).sum(-1)) - logits[:, -1]
    else:
        score = 1 / (1 + np.exp(-logits))
        of_rows = (0.75 * score**2 * -np.log(1 - score)).sum(-1)
    np.testing.assert_allclose(value, of_rows[np.equal(classes, -1)].sum(), rtol=1e-6)
    assert not gradients["box"].any()
    _, standard = detection(form)(*batch)
    np.testing.assert_array_equal(gradients["classification"], standard["classification"])


@every_form
def test_all_ignored_is_zero(form):
    value, gradients = harmonic_det(form)(*case(form, [-2] * 6, box_true=3, box_pred=-3))
    assert value == 0
    assert not gradients["box"].any() and not gradients["classification"].any()


@every_form
def test_identical_boxes_cost_twice_the_classification(form):
    """beta_r = 1 and L_loc = 0; the pull of the contrastive term on the IoU ends at IoU = 1."""
    classes = [0, 1, -2, -2, -2, -2]
    for box in (0.0, [0.3, -0.7, 1.1, 0.4], [5, 9, -40, 12]):
        batch = case(form, classes, box, box)
        value, gradients = harmonic_det(form)(*batch)
        without_contrast = value - _contrast(form, batch)
        standard, _ = detection(form)(*batch)
        np.testing.assert_allclose(without_contrast, 2 * standard, rtol=1e-5)
        np.testing.assert_allclose(gradients["box"], 0, atol=0 if box == 0.0 else 1e-7)


@every_form
def test_disjoint_boxes(form):
    """IoU = 0 and flat there: only smooth L1 moves the box."""
    classes = [0, -2, -2, -2, -2, -2]
    batch = case(form, classes, box_true=0.0, box_pred=[20.0, 0, 0, 0])
    value, gradients = harmonic_det(form)(*batch)
    l_loc = 19.5 + 1.5
    ce = detection(form)(*batch)[0] - 19.5
    p = _score(form, batch)
    expected = (1 + np.exp(-l_loc)) * ce + (1 + p) * l_loc + _contrast(form, batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients["box"][0, 0], [1 + p, 0, 0, 0], rtol=1e-5)


@every_form
def test_target_of_zero_size(form):
    """Encoding a box without area gives the log size -inf: held at the smallest size decoded."""
    classes = [0, -2, -2, -2, -2, -2]
    batch = case(form, classes, box_true=[0, 0, -np.inf, -np.inf], box_pred=0.0)
    value, gradients = harmonic_det(form)(*batch)
    assert_finite(value, gradients)
    p, l_loc = _score(form, batch), 2 * (16 / 0.2 - 0.5) + 1.5
    ce = detection(form)(*batch)[0] - (l_loc - 1.5)
    expected = ce + (1 + p) * l_loc + _contrast(form, batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients["box"][0, 0], (1 + p) * np.array([0, 0, 1, 1]), atol=1e-4)


@every_form
def test_target_encoded_from_an_empty_box(form):
    with np.errstate(divide="ignore"):
        size = np.log(np.array([0.0, 0.0]) / 32) / 0.2
    for target in ([0, 0, *size], [1.5, -2.0, *size], [0, 0, size[0], 0.3]):
        for prediction in (0.0, np.maximum(target, -80), 1e4, -1e4):
            assert_finite(*harmonic_det(form)(*case(form, box_true=target, box_pred=prediction)))


def _score(form, batch):
    logits = batch[1]["classification"][0, 0].astype("float64")
    return (
        np.exp(logits[0]) / np.exp(logits).sum()
        if form == "softmax"
        else 1 / (1 + np.exp(-logits[0]))
    )


@functools.cache
def _contrastive(form):
    return differentiator(TaskContrastiveLoss(form))


def _contrast(form, batch):
    return _contrastive(form)(*batch)[0]


def only_positive(form, own, others):
    """The first row is a positive of class 0 with these logits; the rest is ignored."""
    y_true, y_pred = case(form, [0, -2, -2, -2, -2, -2])
    y_pred["classification"][0, 0] = others
    y_pred["classification"][0, 0, 0] = own
    return y_true, y_pred


def test_extreme_softmax_logits():
    value, gradients = harmonic_det("softmax")(*only_positive("softmax", 1e4, -1e4))
    assert value == 0
    assert not gradients["classification"].any()

    # CE = 2e4; three columns share the probability, so that exp(entropy) = 3.
    value, gradients = harmonic_det("softmax")(*only_positive("softmax", -1e4, 1e4))
    np.testing.assert_allclose(value, 2 * (2e4 + np.log(3)) + 0.8 / (1 + 3), rtol=1e-6)
    np.testing.assert_allclose(
        gradients["classification"][0, 0], [-2, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6
    )


def test_extreme_focal_logits():
    value, gradients = harmonic_det("focal")(*only_positive("focal", 1e4, -1e4))
    assert value == 0
    assert not gradients["classification"].any()

    # 0.25 * 1e4 + 2 * 0.75 * 1e4, twice; two classes share the score: exp(entropy) = 2.
    value, gradients = harmonic_det("focal")(*only_positive("focal", -1e4, 1e4))
    np.testing.assert_allclose(value, 2 * 17500 + 0.8 / (1 + 2), rtol=1e-6)
    np.testing.assert_allclose(gradients["classification"][0, 0], [-0.5, 1.5, 1.5], rtol=1e-6)

    # All scores underflow, so that their entropy counts as 0.
    value, gradients = harmonic_det("focal")(*only_positive("focal", -1e4, -1e4))
    np.testing.assert_allclose(value, 2 * 2500 + 0.8 / (1 + 1), rtol=1e-6)
    np.testing.assert_allclose(gradients["classification"][0, 0], [-0.5, 0, 0], rtol=1e-6)


@every_form
def test_extreme_deltas(form):
    """p = 1 and CE = 0, so that the whole is (1 + 1) L_loc + (1 - 0.2) / (1 + 1)."""
    y_true, y_pred = only_positive(form, 1e4, -1e4)
    for box in ([1e4] * 4, [-1e4] * 4, [1e4, -1e4, 1e4, -1e4], [0, 0, 1e4, -1e4]):
        y_pred["box"][0, 0] = box
        value, gradients = harmonic_det(form)(y_true, y_pred)
        l_loc = sum(abs(d) - 0.5 for d in box if d) + 1.5
        np.testing.assert_allclose(value, 2 * l_loc + 0.4, rtol=1e-6)
        np.testing.assert_allclose(gradients["box"][0, 0], 2 * np.sign(box), atol=1e-3)


@every_form
@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_extreme_predictions_everywhere_stay_finite(form, size):
    rng = np.random.default_rng(1)
    for _ in range(20):
        y_true, y_pred = case(form)
        y_true["box"] += rng.normal(size=(1, ROWS, 4)).astype("float32")
        y_pred = {
            key: rng.choice([-size, 0, size], size=value.shape).astype("float32")
            for key, value in y_pred.items()
        }
        assert_finite(*harmonic_det(form)(y_true, y_pred))


def test_float16_gradient_is_infinite_only_where_float16_ends(without_compiling):
    """CE is 6e5 where 80 classes of a positive are wrong by 1e4, and so is the box's gradient.

    Cast to float16, whose largest number is 65504, that is an infinity: what a LossScaleOptimizer
    looks for. Held at 65504 it would be a wrong number that nobody sees.
    """
    y_true = {"box": np.zeros((1, 2, 4)), "classification": np.array([[0, -1]])}
    y_pred = {
        "box": np.full((1, 2, 4), 0.25, "float32"),
        "classification": np.full((1, 2, 80), 1e4, "float32"),
    }

    def from_half(y_true, y_pred):
        half = {key: ops.cast(value, "float16") for key, value in y_pred.items()}
        return HarmonicDetLoss("focal")(y_true, half)

    _, slopes = differentiator(HarmonicDetLoss("focal"))(y_true, y_pred)
    _, halves = differentiator(from_half)(y_true, y_pred)
    assert (np.abs(slopes["box"][0, 0]) > 65504).all()
    for key, slope in slopes.items():
        np.testing.assert_array_equal(np.isfinite(halves[key]), np.abs(slope) <= 65504)
    _, halves = differentiator(
        lambda y_true, y_pred: HarmonicDetLoss("focal", factor_gradient=False)(
            y_true, {key: ops.cast(value, "float16") for key, value in y_pred.items()}
        )
    )(y_true, y_pred)
    assert all(np.isfinite(half).all() for half in halves.values())


@every_form
@every_mode
def test_nan_and_infinity_in_predictions_make_the_loss_nan(form, mode):
    for key in ("box", "classification"):
        for row in range(ROWS):
            for bad in (np.nan, np.inf, -np.inf):
                y_true, y_pred = case(form)
                y_pred[key][0, row, 1] = bad
                value, _ = harmonic_det(form, mode)(y_true, y_pred)
                assert np.isnan(value), (key, row, bad)


@every_form
@pytest.mark.parametrize("loss", [DetectionLoss, TaskContrastiveLoss])
def test_nan_stays_visible_in_the_parts_too(form, loss, without_compiling):
    for key in ("box", "classification"):
        for row in range(ROWS):
            y_true, y_pred = case(form)
            y_pred[key][0, row, 1] = np.nan
            assert np.isnan(loss(form)(y_true, y_pred)), (key, row)


@every_form
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_nan_stays_visible_through_mining_and_weights(form, mode):
    loss = HarmonicDetLoss(form, negative_ratio=0.5)
    weightless = functools.partial(loss, sample_weight=np.zeros(1))
    for evaluate in (differentiator(loss, mode), differentiator(weightless, mode)):
        for row in range(ROWS):
            y_true, y_pred = case(form)
            y_pred["classification"][0, row, 0] = np.nan
            value, _ = evaluate(y_true, y_pred)
            assert np.isnan(value), row


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_harmonic_iou_loss_shows_nan(bad):
    boxes = np.array([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    wrong = boxes.copy()
    wrong[1, 2] = bad
    assert np.isnan(HarmonicIoULoss()(boxes, wrong))


@every_form
def test_class_without_a_column_makes_the_loss_nan_under_xla(form):
    """Which leaves assertions out; elsewhere it raises."""
    for index in (CLASSES, CLASSES + 1, 1000, -3):
        for row in range(ROWS):
            y_true, y_pred = case(form)
            y_true["classification"][0, row] = index
            value, _ = harmonic_det(form, "xla")(y_true, y_pred)
            assert np.isnan(value), (index, row)
