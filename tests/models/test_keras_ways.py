"""Detectors the Keras way: what a Keras user types works, or is refused in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from detectors import TINY, build, compile_eagerly, fit
from plain_rectangles import rectangles

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss


def test_kerass_own_export_serves_detections(tmp_path):
    model = build("ssd_tiny", image_size=(64, 64), max_detections=5)
    model.export(tmp_path / "served", verbose=False)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    served = loaded.serve(images)
    found = model.predict(images, verbose=0)
    assert served.keys() == found.keys()
    none = loaded.serve(images[:0])
    for key in found:
        np.testing.assert_allclose(served[key], found[key], atol=1e-4, err_msg=key)
        assert none[key].shape == (0, *found[key].shape[1:])


@pytest.mark.parametrize("preset", ["ssd_tiny", "mask_rcnn_tiny"])
def test_the_number_of_boxes_may_vary(preset):
    model = build(preset)
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings))
    data = [
        (images, {key: value[:, :room] for key, value in targets.items()})
        for images, targets in [rectangles(count=1)]
        for room in (0, 4, 2)
    ]
    shapes = {"boxes": (1, None, 4), "classes": (1, None), "masks": (1, None, 56, 56)}
    signature = (
        tf.TensorSpec((1, 160, 208, 3)),
        {key: tf.TensorSpec(shape) for key, shape in shapes.items()},
    )
    dataset = tf.data.Dataset.from_generator(lambda: iter(data), output_signature=signature)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(data)))
    assert np.isfinite(fit(model, dataset)["loss"][0])


def test_sample_weights_of_arrays():
    """Keras hands such weights out as a dictionary, shaped as the labels are."""
    model = build("ssd_tiny")
    compile_eagerly(model, DetectionLoss)
    images, targets = rectangles(count=2)
    weights = np.array([1.0, 0.0], "float32")
    expected = model.test_on_batch(images, targets, sample_weight=weights)[0]
    received = model.evaluate(images, targets, sample_weight=weights, batch_size=2, verbose=0)[0]
    assert received == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("ragged", [False, True])
def test_labels_as_keras_writes_them(ragged):
    """{"boxes", "labels"}, and boxes that are ragged."""
    model = build("ssd_tiny")
    _, targets = rectangles(count=2)
    expected = model.encode_targets(targets)
    labels = {"boxes": targets["boxes"], "labels": targets["classes"]}
    if ragged:
        counts = (targets["classes"] >= 0).sum(axis=1)
        labels = {
            key: tf.RaggedTensor.from_tensor(value, lengths=counts) for key, value in labels.items()
        }
    received = model.encode_targets(labels)
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key], err_msg=key)


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("ssd_tiny", {"nms_threshold": 7}, "`nms_threshold` must be from 0 to 1. Received: 7"),
        ("ssd_tiny", {"score_threshold": -0.1}, "`score_threshold` must be from 0 to 1"),
        ("fcos_tiny", {"reach": -1}, "positive numbers of strides. Received: radius=1.5, reach=-1"),
        ("fcos_tiny", {"radius": 0}, "Received: radius=0, reach=4"),
        ("fsaf_tiny", {"effective": 0.6}, "no larger .* Received: effective=0.6, ignored=0.5"),
        ("fsaf_tiny", {"ignored": 1.5}, "no more than 1. Received: effective=0.2, ignored=1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(preset, settings, message):
    with pytest.raises(ValueError, match=message):
        build(preset, **settings)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"boxes": np.zeros((1, 2, 4))}, r"keys \['boxes'\]"),
        (np.zeros((1, 2, 4)), "Received: ndarray"),
        ({"boxes": np.zeros((1, 4)), "classes": np.zeros(1)}, r"boxes of shape \(1, 4\)"),
    ],
)
def test_labels_of_another_form_are_refused(labels, message):
    with pytest.raises(ValueError, match=f"Ground truth must be .*{message}"):
        build("ssd_tiny").encode_targets(labels)


def test_unknown_formats_are_refused():
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of .*'foo'"):
        build("ssd_tiny", bounding_box_format="foo")
    with pytest.raises(ValueError, match='`resize` must be "stretch"'):
        build("ssd_tiny", resize="crop")


@pytest.mark.parametrize("preset", TINY)
def test_one_line_compiles_every_detector(preset):
    """What the loss leaves open is the detector's: it is as if it had been written out."""
    model = build(preset)
    images, targets = rectangles(count=1)
    outputs = model(images, training=True)
    losses = []
    for arguments in (["adam"], ["adam", HarmonicDetLoss()]):
        model.compile(*arguments)
        losses.append(float(model.compute_loss(images, targets, outputs, training=False)))
    model.compile("adam", loss=HarmonicDetLoss(**model.loss_settings))
    losses.append(float(model.compute_loss(images, targets, outputs, training=False)))
    assert losses[0] == losses[1] == losses[2]
    assert isinstance(model.loss, HarmonicDetLoss)


def test_mining_is_switched_off_by_none():
    model = build("ssd_tiny")
    images, targets = rectangles(count=1)
    outputs = model(images, training=True)
    losses = []
    for loss in (HarmonicDetLoss(), HarmonicDetLoss(negative_ratio=None)):
        model.compile("adam", loss=loss)
        losses.append(float(model.compute_loss(images, targets, outputs)))
    assert losses[1] > 5 * losses[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": HarmonicDetLoss(classification="focal")}, "`classification` .* 'softmax'"),
        ({"loss": HarmonicDetLoss(box_variance=(1, 1, 1, 1))}, "`box_variance` .* detector's"),
        ({"loss": HarmonicDetLoss(reduction=None)}, 'expected reduction="sum"'),
        ({"loss": "mse"}, "loss=HarmonicDetLoss.*Received: loss='mse'"),
        ({"metrics": ["accuracy"]}, "expected metrics=None"),
        ({"loss_weights": [1.0]}, "expected loss_weights=None"),
        ({"jit_compile": True}, "XLA has no kernels"),
    ],
)
def test_what_a_detector_cannot_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build("ssd_tiny").compile("adam", **arguments)


def test_any_keras_loss_on_the_contract_will_do():
    class Sum(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.sum(y_pred["box"], axis=(1, 2)) + y_true["box"][0, 0, 0]

    model = build("ssd_tiny")
    model.compile(optimizer="sgd", loss=Sum(reduction="sum"))
    images, targets = rectangles(count=2)
    raw = model(images)
    received = float(model.compute_loss(images, targets, raw))
    assert received == pytest.approx(float(np.sum(raw["box"])), abs=1e-2)
