"""Objects that cannot be: refused in one sentence, or else a loss that is NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from detectors import TINY, build
from plain_rectangles import rectangles

from harmonic_tf.models import ground_truth
from harmonic_tf.models.ground_truth import nan_if_broken, read_ground_truth

SIZE = (100, 200)
BOX = [10, 20, 40, 50]
FINITE = "Boxes of ground truth must be finite"
INVERTED = "Boxes of ground truth must not be inverted: no side may be negative"
WHOLE = "Classes of ground truth must be whole numbers below 3, the number of classes"
#: Box, class, message, and what stands for "received".
WRONG = [
    ([10, 10, np.inf, 40], 1, FINITE, "inf"),
    ([10, 10, -np.inf, 40], 1, FINITE, "-inf"),
    ([np.nan, 10, 40, 40], 1, FINITE, "nan"),
    ([40, 20, 10, 50], 1, INVERTED, "-30"),
    ([10, 50, 40, 20], 1, INVERTED, "-30"),
    (BOX, 3, WHOLE, "3"),
    (BOX, 1.5, WHOLE, "1.5"),
    (BOX, -0.5, WHOLE, "-0.5"),
    (BOX, np.nan, WHOLE, "nan"),
    (BOX, np.inf, WHOLE, "inf"),
]


def objects(*rows):
    """Ground truth of one image: (box, class) each."""
    boxes, classes = zip(*rows, strict=True)
    return {"boxes": np.array([boxes], "float32"), "classes": np.array([classes], "float32")}


def read(y, form="xyxy"):
    return read_ground_truth(y, form, SIZE, 3)


@pytest.mark.parametrize(("box", "label", "message", "received"), WRONG)
def test_an_object_that_cannot_be_is_named_at_its_place(box, label, message, received):
    y = objects((BOX, 2), (box, label))
    with pytest.raises(ValueError, match=rf"{message}\. Received {received}(\.0)? at \(0, 1\)"):
        read(y)
    step = tf.function(lambda y: read(y)["classes"], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        step({key: tf.constant(value) for key, value in y.items()})


def test_what_xla_cannot_read_is_left_out_and_makes_the_loss_nan():
    step = tf.function(read, autograph=False, jit_compile=True)
    truths = [step(objects((BOX, 2), (box, label))) for box, label, *_ in WRONG]
    for truth in truths:
        assert truth["boxes"].numpy().tolist() == [[BOX, [-1] * 4]]
        assert truth["classes"].numpy().tolist() == [[2, -1]]
        assert np.isnan(nan_if_broken(truth))
    assert nan_if_broken(step(objects((BOX, 2), (BOX, 0)))) == 0


@pytest.mark.parametrize("box", [[40, 20, 10, 50], [np.nan] * 4, [np.inf, 0, -np.inf, 0]])
def test_padding_is_never_looked_at(box):
    truth = read(objects((BOX, 2), (box, -1), ([0, 0, 9, 9], -2)))
    assert truth["boxes"].numpy().tolist() == [[BOX, [-1] * 4, [-1] * 4]]
    assert truth["classes"].numpy().tolist() == [[2, -1, -1]]
    assert nan_if_broken(truth) == 0


@pytest.mark.parametrize(
    ("form", "box", "narrow", "inverted"),
    [
        ("xyxy", BOX, [10, 20, 10, 50], [10, 20, 9, 50]),
        ("yxyx", [20, 10, 50, 40], [20, 10, 20, 40], [20, 10, 19, 40]),
        ("xywh", [10, 20, 30, 30], [10, 20, 0, 30], [10, 20, 30, -1]),
        ("center_xywh", [25, 35, 30, 30], [25, 35, 30, 0], [25, 35, -1, 30]),
        ("rel_xyxy", [0.05, 0.2, 0.2, 0.5], [0.2, 0.2, 0.2, 0.5], [0.2, 0.5, 0.3, 0.4]),
        ("rel_xywh", [0.05, 0.2, 0.15, 0.3], [0.1, 0.2, 0, 0.3], [0.1, 0.2, -0.1, 0.3]),
    ],
)
def test_boxes_of_every_format(form, box, narrow, inverted):
    """A box without area may be; one with a negative side, in pixels of x and y, may not."""
    truth = read(objects((box, 0), (narrow, 1), ([-1] * 4, -1)), form)
    np.testing.assert_allclose(truth["boxes"][0, 0], BOX, rtol=1e-6)
    assert truth["classes"].numpy().tolist() == [[0, 1, -1]]
    with pytest.raises(ValueError, match=rf"{INVERTED}\. Received -.* at \(0, 1\)"):
        read(objects((box, 0), (inverted, 1)), form)


@pytest.mark.parametrize("preset", TINY)
def test_every_detector_refuses_it(preset):
    """Before it looks at what the network has returned."""
    model = build(preset)
    model.compile("sgd")
    images = np.zeros((1, *model.image_size, 3), "float32")
    for box, label, message, _ in WRONG:
        with pytest.raises(ValueError, match=message):
            model.compute_loss(images, objects((BOX, 2), (box, label)), None)


@pytest.mark.parametrize("preset", ["ssd_tiny", "cascade_mask_rcnn_tiny"])
def test_where_no_value_can_be_read_the_loss_is_nan(preset, monkeypatch):
    model = build(preset)
    model.compile("sgd")
    images, targets = rectangles(count=1)
    targets["boxes"][0, 0], targets["classes"][0, :2] = [np.nan, 0, np.inf, -1], [7, np.nan]
    monkeypatch.setattr(ground_truth, "refuse", lambda *_, **__: None)
    outputs = model(images, training=True)
    assert np.isnan(float(model.compute_loss(images, targets, outputs)))
    if not model.last_stage.after:
        assert keras.ops.any(keras.ops.isnan(model.encode_targets(targets)["box"]))
