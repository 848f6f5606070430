"""Factors with an offset, divided by their mean: which positives count, and not how much."""

import numpy as np
import pytest
from differentiate import differentiate
from reference import FORMS, VARIATIONS, parts, random_case

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss

pytestmark = pytest.mark.usefixtures("without_compiling")
every_form = pytest.mark.parametrize("form", FORMS)
NORM = VARIATIONS["harmonic norm"]


def factors_of(form, case, **settings):
    """The two factors of every positive by the definition; checked against the loss's terms."""
    settings = {"contrastive": False, "dtype": "float64", "reduction": None, **settings}
    y_true, y_pred = case
    count = (y_true["classification"] >= 0).sum()
    total = np.asarray(HarmonicDetLoss(form, **settings)(*case)) * count
    _, rows = HarmonicDetLoss(form, dtype="float64").with_parts(*case)
    positive = np.asarray(rows.positive) > 0
    ce, l_loc, beta_r, beta_c = (
        np.asarray(x)[positive]
        for x in (rows.classification, rows.localization, rows.beta_r, rows.beta_c)
    )
    offset = settings["factor_offset"]
    factor_r = 2 * (offset + beta_r) / (offset + beta_r).mean()
    factor_c = 2 * (offset + beta_c) / (offset + beta_c).mean()
    np.testing.assert_allclose(total[positive], factor_r * ce + factor_c * l_loc, rtol=1e-9)
    return factor_r, factor_c


@every_form
@pytest.mark.parametrize("offset", [0.0, 0.1, 1.0])
def test_mean_of_each_factor_is_two(form, offset):
    case = random_case(form, seed=1)
    for factor in factors_of(form, case, **{**NORM, "factor_offset": offset}):
        assert factor.mean() == pytest.approx(2, rel=1e-12)
        assert factor.std() > 0.1


@every_form
def test_equal_factors_are_the_control_that_weighs_positives_twice(form):
    """All positives alike: each factor is its own mean, so 2 exactly, in float32 too."""
    y_true, y_pred = random_case(form, seed=2, rows=1)
    case = (
        {key: np.repeat(value[:1], 30, 1) for key, value in y.items()} for y in (y_true, y_pred)
    )
    y_true, y_pred = case
    y_true["classification"] = np.full((1, 30), 1)
    fixed = HarmonicDetLoss(form, harmonic=False, constant_factor=2.0)
    actual = HarmonicDetLoss(form, **NORM)(y_true, y_pred)
    np.testing.assert_allclose(actual, fixed(y_true, y_pred), rtol=1e-6)


@every_form
def test_negatives_keep_their_weight(form):
    case = random_case(form, seed=3)
    negative = case[0]["classification"] == -1
    terms, standard = (
        np.asarray(loss(*case))
        for loss in (
            HarmonicDetLoss(form, **NORM, reduction=None),
            DetectionLoss(form, reduction=None),
        )
    )
    np.testing.assert_allclose(terms[negative], standard[negative], rtol=1e-6)


@every_form
def test_without_positives_the_loss_is_the_standard_one(form):
    y_true, y_pred = random_case(form, seed=4)
    y_true["classification"] = np.minimum(y_true["classification"], -1)
    value, gradients = differentiate(HarmonicDetLoss(form, **NORM), y_true, y_pred)
    expected, others = differentiate(DetectionLoss(form), y_true, y_pred)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, others[key])


@every_form
@pytest.mark.parametrize("gradient", [True, False])
def test_factors_that_all_vanish_are_two(form, gradient):
    """Without an offset, boxes far off and scores of nothing leave nothing to compare."""
    y_true, y_pred = random_case(form, seed=5)
    y_pred["box"] = y_true["box"] + 1e4
    y_pred["classification"] = np.where(
        np.arange(y_pred["classification"].shape[-1]) == 3, 1e4, -1e4 + 0 * y_pred["classification"]
    )
    y_true["classification"] = np.where(y_true["classification"] >= 0, 0, y_true["classification"])
    settings = {"factor_offset": 0.0, "normalize_factors": True, "factor_gradient": gradient}
    value, gradients = differentiate(HarmonicDetLoss(form, **settings), y_true, y_pred)
    fixed = HarmonicDetLoss(form, harmonic=False, constant_factor=2.0)
    expected, others = differentiate(fixed, y_true, y_pred)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for key in gradients:
        np.testing.assert_allclose(gradients[key], others[key], rtol=1e-5, atol=1e-7)


@every_form
def test_mined_and_weighted_rows_do_not_move_the_mean(form):
    case = random_case(form, seed=6)
    terms = np.asarray(HarmonicDetLoss(form, **NORM, reduction=None)(*case))
    mined = HarmonicDetLoss(form, **NORM, reduction=None, negative_ratio=1.0)
    positive = case[0]["classification"] >= 0
    np.testing.assert_array_equal(np.asarray(mined(*case))[positive], terms[positive])
    weight = np.random.default_rng(0).uniform(0, 2, terms.shape)
    weighted = HarmonicDetLoss(form, **NORM)(*case, sample_weight=weight)
    np.testing.assert_allclose(weighted, (weight * terms).sum(), rtol=1e-6)


@every_form
def test_reference_agrees_that_the_mean_is_two(form):
    case = random_case(form, seed=7)
    rows = parts(*case, classification=form, **NORM)
    means = rows["factors"][:, rows["positive"] > 0].mean(1)
    np.testing.assert_allclose(means, 2, rtol=1e-12)
