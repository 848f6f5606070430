"""The losses' values: by hand, against the reference, and against the paper's equation 7."""

import numpy as np
import pytest
from differentiate import differentiate
from keras import ops
from reference import FORMS, VARIATIONS, parts, random_case
from reference import loss as reference_loss

from harmonic_tf import pack
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss, HarmonicLoss, TaskContrastiveLoss

pytestmark = pytest.mark.usefixtures("without_compiling")
every_form = pytest.mark.parametrize("form", FORMS)


def as_float32(*dictionaries):
    return [{k: v.astype("float32") for k, v in d.items()} for d in dictionaries]


def logits_of(*probabilities):
    return np.log(np.array(probabilities, "float32"))


# One positive, of class 0, p = 0.8; its box is half the target's width, so that IoU = 0.5.
HALF_WIDTH = {
    "y_true": {"box": np.zeros((1, 1, 4), "float32"), "classification": np.array([[0]])},
    "y_pred": {
        "box": np.array([[[0, 0, 5 * np.log(0.5), 0]]], "float32"),
        "classification": logits_of(0.8, 0.2)[None, None],
    },
}


def test_one_positive_by_hand():
    ce = -np.log(0.8)
    l_loc = (5 * np.log(2) - 0.5) + 1.5 * 1.5**0.8 * 0.5
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    l_tc = (0.8 - 0.5 - 0.2) / (1 + np.exp(entropy))
    expected = (1 + np.exp(-l_loc)) * ce + (1 + 0.8) * l_loc + l_tc
    np.testing.assert_allclose(HarmonicDetLoss()(**HALF_WIDTH), expected, rtol=1e-6)

    loss, parts = HarmonicDetLoss().with_parts(**HALF_WIDTH)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    by_hand = {
        "total": expected,
        "classification": ce,
        "localization": l_loc,
        "contrastive": l_tc,
        "beta_r": np.exp(-l_loc),
        "beta_c": 0.8,
        "p": 0.8,
        "iou": 0.5,
        "positive": 1,
    }
    assert set(parts._fields) == set(by_hand)
    for name, value in by_hand.items():
        np.testing.assert_allclose(getattr(parts, name), [[value]], rtol=2e-6, err_msg=name)


def test_focal_form_by_hand():
    """Two classes, scores 0.8 and 0.3; a perfect box, and a negative with scores 0.1 and 0.5."""
    score = np.array([[[0.8, 0.3], [0.1, 0.5]]])
    y_true = {"box": np.zeros((1, 2, 4)), "classification": np.array([[0, -1]])}
    y_pred = {"box": np.zeros((1, 2, 4)), "classification": np.log(score / (1 - score))}
    negative = 0.75 * (0.1**2 * -np.log(0.9) + 0.5**2 * -np.log(0.5))
    positive = 0.25 * 0.2**2 * -np.log(0.8) + 0.75 * 0.3**2 * -np.log(0.7)
    np.testing.assert_allclose(
        DetectionLoss("focal")(y_true, y_pred), positive + negative, rtol=1e-6
    )
    share = np.array([8 / 11, 3 / 11])
    perplexity = np.exp(-(share * np.log(share)).sum())
    margin_excess = 0.1 / (1 + perplexity)
    np.testing.assert_allclose(
        HarmonicDetLoss("focal", margin=0.1)(y_true, y_pred),
        2 * positive + margin_excess + negative,
        rtol=1e-6,
    )


@every_form
@pytest.mark.parametrize("variation", VARIATIONS)
def test_float32_equals_reference(form, variation):
    settings = {"classification": form, **VARIATIONS[variation]}
    for seed in range(5):
        case = as_float32(*random_case(form, seed, variance=settings.get("box_variance")))
        loss, actual = HarmonicDetLoss(**settings).with_parts(*case)
        np.testing.assert_allclose(loss, reference_loss(*case, **settings), rtol=1e-6)
        expected = parts(*case, **settings)
        if not settings.get("contrastive", True):
            expected["contrastive"] = np.zeros_like(expected["total"])
        for name in actual._fields:
            np.testing.assert_allclose(
                getattr(actual, name), expected[name], rtol=2e-5, atol=2e-6, err_msg=name
            )


@every_form
def test_detection_loss_is_equation_1(form):
    y_true, y_pred = as_float32(*random_case(form, seed=11))
    expected = reference_loss(
        y_true, y_pred, classification=form, harmonic=False, contrastive=False, iou_loss=None
    )
    np.testing.assert_allclose(DetectionLoss(form)(y_true, y_pred), expected, rtol=1e-6)


@every_form
def test_each_loss_is_its_part_of_the_whole(form):
    case = as_float32(*random_case(form, seed=12))

    def value(loss):
        return float(loss(*case))

    whole = value(HarmonicDetLoss(form))
    contrast = value(TaskContrastiveLoss(form))
    without = value(HarmonicDetLoss(form, contrastive=False))
    assert contrast > 0.01
    assert whole == pytest.approx(without + contrast, rel=1e-6)
    assert value(HarmonicLoss(form)) == value(HarmonicDetLoss(form, iou_loss=None))
    assert value(HarmonicDetLoss(form, iou_loss="iou")) == pytest.approx(
        value(HarmonicDetLoss(form, gamma=0.0)), rel=1e-6
    )
    assert value(DetectionLoss(form)) == value(
        HarmonicLoss(form, harmonic=False, contrastive=False)
    )


@every_form
def test_constant_factors_weigh_positives_only(form):
    case = as_float32(*random_case(form, seed=13))
    once = np.asarray(DetectionLoss(form, reduction=None)(*case))
    twice = np.asarray(DetectionLoss(form, constant_factor=2.0, reduction=None)(*case))
    positive = case[0]["classification"] >= 0
    np.testing.assert_allclose(twice, np.where(positive, 2, 1) * once, rtol=1e-6)


@every_form
def test_packed_equals_dictionary(form):
    y_true, y_pred = as_float32(*random_case(form, seed=14))
    loss = HarmonicDetLoss(form)
    value, expected = differentiate(loss, y_true, y_pred)
    packed_value, packed = differentiate(loss, pack(y_true), pack(y_pred))
    assert packed_value == value
    np.testing.assert_array_equal(packed, pack(expected))


@every_form
def test_terms_sum_to_the_scalar(form):
    case = as_float32(*random_case(form, seed=15))
    for ratio in (None, 1.0):
        terms = HarmonicDetLoss(form, negative_ratio=ratio, reduction=None)(*case)
        assert terms.shape == (2, 40)
        scalar = HarmonicDetLoss(form, negative_ratio=ratio)(*case)
        np.testing.assert_allclose(np.sum(terms), scalar, rtol=1e-6)


@every_form
def test_sample_weight_of_images_and_of_rows(form):
    case = as_float32(*random_case(form, seed=16))
    terms = np.asarray(HarmonicDetLoss(form, reduction=None)(*case))
    rng = np.random.default_rng(16)
    for weight in (rng.uniform(0, 2, 2), rng.uniform(0, 2, (2, 40)), np.array([[0.5], [2.0]])):
        rows = weight if weight.ndim == 2 else weight[:, None]
        actual = HarmonicDetLoss(form)(*case, sample_weight=weight)
        np.testing.assert_allclose(actual, (rows * terms).sum(), rtol=1e-6)


def test_weights_that_keras_gave_to_every_target_are_read_once():
    case = as_float32(*random_case("softmax", seed=17))
    weight = np.array([0.5, 2.0], "float32")
    expected = HarmonicDetLoss().with_parts(*case, sample_weight=weight)[0]
    each = {"boxes": weight, "classes": weight}
    assert float(HarmonicDetLoss().with_parts(*case, sample_weight=each)[0]) == float(expected)
    assert float(HarmonicDetLoss()(*case, sample_weight=each)) == float(expected)


def test_as_many_images_as_anchors_are_weighted_by_image():
    case = as_float32(*random_case("softmax", seed=17, batch=6, rows=6))
    terms = np.asarray(HarmonicDetLoss(reduction=None)(*case))
    weight = np.arange(6.0)
    actual = HarmonicDetLoss()(*case, sample_weight=weight)
    np.testing.assert_allclose(actual, (weight[:, None] * terms).sum(), rtol=1e-6)


@every_form
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_predictions_are_computed_in_float32(form, dtype):
    loss = HarmonicDetLoss(form)
    y_true, y_pred = random_case(form, seed=18)
    exact = {key: as_dtype(value, dtype) for key, value in y_pred.items()}

    def from_half(y_true, y_pred):
        return loss(y_true, {key: ops.cast(value, dtype) for key, value in y_pred.items()})

    value, actual = differentiate(from_half, y_true, exact)
    expected_value, expected = differentiate(loss, y_true, exact)
    assert value.dtype == "float32"
    assert value == expected_value
    for key in expected:
        np.testing.assert_array_equal(actual[key], as_dtype(expected[key], dtype))


def as_dtype(value, dtype):
    """`value` rounded to `dtype`, as float32."""
    return np.asarray(ops.cast(ops.cast(value, dtype), "float32"))


def slope_by_score(loss, scores, localization):
    """dL/dp of one positive of two classes, by its score and its smooth L1 loss, `(S, L)`."""
    p, l_loc = np.meshgrid(scores, localization, indexing="ij")
    delta = np.where(l_loc < 0.5, np.sqrt(2 * l_loc), l_loc + 0.5)
    box = np.zeros((1, p.size, 4))
    box[0, :, 0] = delta.ravel()
    y_true = {"box": np.zeros_like(box), "classification": np.zeros((1, p.size))}
    y_pred = {"box": box, "classification": np.log(np.stack([p, 1 - p], -1)).reshape(1, -1, 2)}
    _, gradient = differentiate(loss, y_true, y_pred)
    by_logit = p.size * gradient["classification"][0, :, 0].reshape(p.shape)
    return by_logit / (p * (1 - p))


SCORES, LOCALIZATION = np.linspace(0.05, 0.95, 19), np.array([0.05, 0.3, 0.5, 1.0, 2.0, 4.0])


def test_equation_7():
    loss = HarmonicLoss(contrastive=False, dtype="float64")
    actual = slope_by_score(loss, SCORES, LOCALIZATION)
    expected = LOCALIZATION - (1 + np.exp(-LOCALIZATION)) / SCORES[:, None]
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_figure_2():
    """(a) The worse the box, the weaker the pull on the score; (b) the standard loss is blind."""
    harmonic = slope_by_score(
        HarmonicLoss(contrastive=False, dtype="float64"), SCORES, LOCALIZATION
    )
    assert (np.diff(harmonic, axis=1) > 0).all()
    assert (np.diff(harmonic, axis=0) > 0).all()
    standard = slope_by_score(DetectionLoss(dtype="float64"), SCORES, LOCALIZATION)
    np.testing.assert_allclose(
        standard, np.broadcast_to(-1 / SCORES[:, None], standard.shape), rtol=1e-9
    )


def test_slope_turns_positive_where_the_docstring_says():
    """Unlike the paper's "always negative"."""
    slope = slope_by_score(HarmonicLoss(contrastive=False, dtype="float64"), SCORES, LOCALIZATION)
    expected = LOCALIZATION > (1 + np.exp(-LOCALIZATION)) / SCORES[:, None]
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(slope > 0, expected)


def test_slope_by_localization_turns_negative_where_the_docstring_says():
    p = np.array([0.01, 0.05, 0.3, 0.9])
    delta = 0.2
    y_true = {"box": np.zeros((1, 4, 4)), "classification": np.zeros((1, 4))}
    y_pred = {
        "box": np.tile([delta, 0.0, 0.0, 0.0], (1, 4, 1)),
        "classification": np.log(np.stack([p, 1 - p], -1))[None],
    }
    _, gradient = differentiate(HarmonicLoss(contrastive=False, dtype="float64"), y_true, y_pred)
    slope = 4 * gradient["box"][0, :, 0] / delta
    np.testing.assert_allclose(slope, 1 + p + np.log(p) * np.exp(-(delta**2) / 2), rtol=1e-9)
    np.testing.assert_array_equal(slope < 0, [True, True, False, False])


def test_gradient_flows_through_the_factors_unless_told_otherwise():
    p = np.array([0.4])
    stopped = HarmonicLoss(contrastive=False, factor_gradient=False, dtype="float64")
    actual = slope_by_score(stopped, p, LOCALIZATION)
    np.testing.assert_allclose(actual[0], -(1 + np.exp(-LOCALIZATION)) / 0.4, rtol=1e-9)
