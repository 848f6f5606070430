"""HarmonicIoULoss and LocalizationLoss as ordinary Keras box losses."""

import warnings

import keras
import numpy as np
import pytest
from differentiate import differentiate, differentiator

from harmonic_tf.losses import HarmonicIoULoss, LocalizationLoss


def test_values_by_hand():
    true = np.array([[0.0, 0, 2, 2]] * 4)
    pred = np.array([[0.0, 0, 2, 2], [0, 0, 2, 1], [5, 5, 6, 6], [1, 0, 3, 2]])
    iou = np.array([1, 1 / 2, 0, 1 / 3])
    for gamma in (0.0, 0.3, 0.8, 1.0):
        actual = HarmonicIoULoss(gamma=gamma, reduction=None)(true, pred)
        np.testing.assert_allclose(actual, (1 + iou) ** gamma * (1 - iou), rtol=1e-6, atol=1e-7)


def test_mean_is_the_default_reduction():
    true = np.array([[[0.0, 0, 2, 2], [0, 0, 1, 1]]])
    pred = np.array([[[0.0, 0, 2, 2], [3, 3, 4, 4]]])
    assert float(HarmonicIoULoss()(true, pred)) == pytest.approx(0.5)
    assert float(HarmonicIoULoss()(true, pred, sample_weight=np.array([[1.0, 3]]))) == (
        pytest.approx(1.5)
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8, 1.0])
def test_monotonic_in_the_iou(gamma):
    width = np.linspace(0.01, 1, 100)
    pred = np.stack([np.zeros(100), np.zeros(100), width, np.ones(100)], -1)
    true = np.broadcast_to([0.0, 0, 1, 1], (100, 4))
    terms = np.asarray(HarmonicIoULoss(gamma=gamma, reduction=None, dtype="float64")(true, pred))
    assert (np.diff(terms) < 0).all()


BOXES = {
    "xyxy": ([10, 20, 50, 100], [20, 20, 60, 80]),
    "yxyx": ([20, 10, 100, 50], [20, 20, 80, 60]),
    "xywh": ([10, 20, 40, 80], [20, 20, 40, 60]),
    "center_xywh": ([30, 60, 40, 80], [40, 50, 40, 60]),
    "center_yxhw": ([60, 30, 80, 40], [50, 40, 60, 40]),
    "rel_xyxy": ([0.05, 0.2, 0.25, 1.0], [0.1, 0.2, 0.3, 0.8]),
    "rel_yxyx": ([0.2, 0.05, 1.0, 0.25], [0.2, 0.1, 0.8, 0.3]),
    "rel_xywh": ([0.05, 0.2, 0.2, 0.8], [0.1, 0.2, 0.2, 0.6]),
    "rel_center_xywh": ([0.15, 0.6, 0.2, 0.8], [0.2, 0.5, 0.2, 0.6]),
}


@pytest.mark.parametrize("bounding_box_format", BOXES)
def test_every_format_sees_the_same_boxes(bounding_box_format):
    """Areas 3200 and 2400, intersection 30 x 60: IoU = 1800 / 3800."""
    true, pred = (np.array([box], "float64") for box in BOXES[bounding_box_format])
    iou = 1800 / 3800
    loss = HarmonicIoULoss(bounding_box_format, gamma=0.8)
    np.testing.assert_allclose(loss(true, pred), (1 + iou) ** 0.8 * (1 - iou), rtol=1e-5)


@pytest.mark.parametrize("bounding_box_format", BOXES)
def test_localization_in_every_format(bounding_box_format):
    """Differences of 10 px of 40 and of 0 and -20 px of 80; in the same unit whatever it is."""
    true, pred = (np.array([box], "float64") for box in BOXES[bounding_box_format])
    iou, smooth_l1 = 1800 / 3800, (2 * 0.25**2 + 0.25**2) / 2
    loss = LocalizationLoss(bounding_box_format, alpha=2.0, gamma=0.5)
    expected = smooth_l1 + 2 * (1 + iou) ** 0.5 * (1 - iou)
    np.testing.assert_allclose(loss(true, pred), expected, rtol=1e-4)


def test_localization_draws_disjoint_boxes_together():
    true, pred = np.array([[0.0, 0, 2, 2]]), np.array([[5.0, 0, 7, 2]])
    _, slope = differentiate(HarmonicIoULoss(), true, pred)
    assert not slope.any()
    value, slope = differentiate(LocalizationLoss(), true, pred)
    assert float(value) == pytest.approx(2 * (2.5 - 0.5) + 1.5)
    np.testing.assert_allclose(slope, [[0.5, 0, 0.5, 0]], atol=1e-6)
    moved = pred - 0.5 * slope
    assert float(LocalizationLoss()(true, moved)) < float(value)


@pytest.mark.parametrize("cls", [HarmonicIoULoss, LocalizationLoss])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_deltas_taken_for_boxes_are_warned_of_once(cls, mode):
    deltas = np.array([[0.3, -0.2, -0.5, 0.1]])
    loss = differentiator(cls(), mode)
    with pytest.warns(UserWarning, match=f"{cls.__name__} takes boxes.*harmonic_tf.harmonize"):
        loss(deltas, deltas)
    loss(deltas, deltas)


@pytest.mark.parametrize("cls", [HarmonicIoULoss, LocalizationLoss])
def test_gradient_equals_central_differences(cls):
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 5, (20, 2))
    true = np.concatenate([low, low + rng.uniform(1, 5, (20, 2))], -1)
    pred = true + rng.normal(0, 0.3, true.shape)
    loss = cls(dtype="float64", reduction="sum")
    _, actual = differentiate(loss, true, pred)
    for index in np.ndindex(pred.shape):
        step = np.zeros_like(pred)
        step[index] = 1e-6
        slope = (float(loss(true, pred + step)) - float(loss(true, pred - step))) / 2e-6
        assert actual[index] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [2, 2, 1, 1], [-1, -1, -1, -1], [1, 1, 1, 3]])
def test_boxes_without_area_give_a_finite_loss_and_gradient(box):
    boxes = np.array([[0.0, 0, 2, 2], box])
    for true, pred in ((boxes, boxes[::-1].copy()), (boxes[1:], boxes[1:])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if box == [2, 2, 1, 1] else "error")
            value, gradient = differentiate(HarmonicIoULoss(), true, pred)
            other, slope = differentiate(LocalizationLoss(), true, pred)
        assert float(value) == pytest.approx(1.0)
        assert np.isfinite(other) and np.isfinite(gradient).all() and np.isfinite(slope).all()


def test_fits_as_the_loss_of_an_ordinary_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.Adam(0.05), loss=HarmonicIoULoss("center_xywh"))
    true = np.tile([[5.0, 5, 4, 4]], (16, 1))
    near = true + np.random.default_rng(0).normal(0, 0.3, true.shape)
    model.layers[0].set_weights([np.eye(4) * 0.9, np.zeros(4)])
    history = model.fit(near, true, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


def test_refuses_unknown_formats_and_wrong_shapes():
    with pytest.raises(ValueError, match="`bounding_box_format`.*'cxcywh'"):
        HarmonicIoULoss("cxcywh")
    with pytest.raises(ValueError, match=r"`gamma`.*1\.5"):
        HarmonicIoULoss(gamma=1.5)
    with pytest.raises(ValueError, match=r"`alpha`.*-1"):
        LocalizationLoss(alpha=-1)
    with pytest.raises(ValueError, match=r"`y_pred` must hold boxes.*\(2, 5\)"):
        HarmonicIoULoss()(np.zeros((2, 4)), np.zeros((2, 5)))
