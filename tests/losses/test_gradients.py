"""The hand-derived gradient against central differences and against automatic differentiation."""

import functools

import numpy as np
import pytest
from autodiff import plain_loss
from differentiate import differentiate
from keras import ops
from reference import FORMS, VARIATIONS, gradients, random_case
from reference import loss as reference_loss

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss, HarmonicLoss, TaskContrastiveLoss
from harmonic_tf.ops import Settings

pytestmark = pytest.mark.usefixtures("without_compiling")


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture(params=VARIATIONS)
def settings(request, form):
    return {"classification": form, **VARIATIONS[request.param]}


def assert_gradients_close(actual, expected):
    for key in expected:
        np.testing.assert_allclose(actual[key], expected[key], rtol=1e-5, atol=1e-9, err_msg=key)


def test_float64_gradient_equals_central_differences(form, settings):
    for seed in (1, 2):
        y_true, y_pred = random_case(form, seed, variance=settings.get("box_variance"))
        loss = HarmonicDetLoss(**settings, dtype="float64")
        value, actual = differentiate(loss, y_true, y_pred)
        np.testing.assert_allclose(value, reference_loss(y_true, y_pred, **settings), rtol=1e-12)
        assert_gradients_close(actual, gradients(y_true, y_pred, **settings))


def test_gradient_equals_automatic_differentiation(form, settings):
    y_true, y_pred = random_case(form, seed=3, variance=settings.get("box_variance"))
    loss = HarmonicDetLoss(**settings, dtype="float64")
    plain = functools.partial(plain_loss, settings=Settings(**settings))
    _, actual = differentiate(loss, y_true, y_pred)
    _, expected = differentiate(plain, y_true, y_pred)
    for key in expected:
        np.testing.assert_allclose(actual[key], expected[key], rtol=1e-9, atol=1e-12)


def test_gradient_of_the_other_losses(form):
    y_true, y_pred = random_case(form, seed=4)
    standard = {"harmonic": False, "contrastive": False, "iou_loss": None}
    for loss, settings in (
        (DetectionLoss(form, dtype="float64"), standard),
        (HarmonicLoss(form, dtype="float64"), {"iou_loss": None}),
    ):
        _, actual = differentiate(loss, y_true, y_pred)
        assert_gradients_close(actual, gradients(y_true, y_pred, classification=form, **settings))


def test_gradient_of_the_contrastive_loss_is_what_it_adds(form):
    y_true, y_pred = random_case(form, seed=5)
    _, actual = differentiate(TaskContrastiveLoss(form, dtype="float64"), y_true, y_pred)
    on, off = (
        gradients(y_true, y_pred, classification=form, contrastive=value) for value in (True, False)
    )
    for key in on:
        np.testing.assert_allclose(actual[key], on[key] - off[key], atol=1e-8)


def test_weighted_and_mined_gradient(form):
    y_true, y_pred = random_case(form, seed=6)
    weight = np.random.default_rng(6).uniform(0.1, 2, y_true["classification"].shape)
    settings = {"classification": form, "negative_ratio": 1.0, "dtype": "float64"}
    chosen = np.asarray(HarmonicDetLoss(**settings, reduction=None)(y_true, y_pred)) > 0
    assert 0 < chosen.sum() < (y_true["classification"] != -2).sum()

    weighted = functools.partial(HarmonicDetLoss(**settings), sample_weight=weight)
    _, actual = differentiate(weighted, y_true, y_pred)
    of_all_rows = gradients(y_true, y_pred, classification=form)
    expected = {key: value * (chosen * weight)[..., None] for key, value in of_all_rows.items()}
    assert_gradients_close(actual, expected)


def test_parts_carry_no_gradient(form):
    y_true, y_pred = random_case(form, seed=7)

    def sum_of_parts(y_true, y_pred):
        _, parts = HarmonicDetLoss(form, dtype="float64").with_parts(y_true, y_pred)
        # The sum of the predictions keeps the value connected to them on every backend.
        return sum(ops.sum(part) for part in (*parts[1:], *y_pred.values()))

    _, actual = differentiate(sum_of_parts, y_true, y_pred)
    for gradient in actual.values():
        np.testing.assert_array_equal(gradient, 1)


def test_no_gradient_reaches_ignored_rows_or_the_boxes_of_negatives(form):
    y_true, y_pred = random_case(form, seed=8)
    _, actual = differentiate(HarmonicDetLoss(form), y_true, y_pred)
    classes = y_true["classification"]
    assert not actual["classification"][classes == -2].any()
    assert not actual["box"][classes < 0].any()
    assert actual["box"][classes >= 0].any()
