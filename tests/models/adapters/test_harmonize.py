"""What a KerasCV or KerasHub user's detector keeps, and what it learns, once it is harmonised."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from others import (
    BUILDERS,
    assert_same,
    data,
    hub_retinanet,
    retinanet,
    run_two_replicas,
    seeded,
    yolov8,
)

from harmonic_tf import Layout, harmonize
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss

pytestmark = [
    # KerasCV's own model takes a dictionary, and Keras warns where it gets the images alone.
    pytest.mark.filterwarnings("ignore:(?s).*structure of `inputs`:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*begins with the prior of its class head:UserWarning"),
]


@pytest.fixture(scope="module", params=BUILDERS)
def build(request):
    return request.param


@pytest.fixture(scope="module")
def theirs(build):
    return seeded(build)


@pytest.fixture
def ours(theirs):
    model = harmonize(theirs)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    return model


class Spy(keras.losses.Loss):
    """Keeps what it is given."""

    def call(self, y_true, y_pred):
        self.given = y_true, y_pred
        return keras.ops.sum(y_pred)


def loss_by_hand(build, model, images, targets):
    """The loss of outputs and its targets, from the library's own label encoder."""
    if build is yolov8:
        from keras_cv.src.models.object_detection.yolo_v8 import yolo_v8_detector as yolo

        spies = Spy(), Spy()
        model.compile(box_loss=spies[0], classification_loss=spies[1], run_eagerly=True)
        model.compute_loss(images, targets, model(images))
        scores = np.array(spies[1].given[0])
        classes = np.where(scores.max(axis=-1) > 0, scores.argmax(axis=-1), -1)
        y_true = {"box": spies[0].given[0], "classification": classes}
        layout = Layout(box_coding="boxes", background=None, from_logits=False)
        points, _ = yolo.get_anchors(images.shape[1:])

        def loss(outputs):
            boxes = yolo.dist2bbox(yolo.decode_regression_to_boxes(outputs["boxes"]), points)
            y_pred = {"box": boxes, "classification": outputs["classes"]}
            return HarmonicDetLoss(layout=layout)(y_true, y_pred)

        return loss, classes
    if build is hub_retinanet:
        boxes, classes = model.label_encoder(images, targets["boxes"], targets["labels"])
        variance, keys = (1, 1, 1, 1), ("bbox_regression", "cls_logits")
    else:
        boxes, classes = model.label_encoder(images, targets)
        variance, keys = (0.1, 0.1, 0.2, 0.2), ("box", "classification")

    def loss(outputs):
        y_pred = {"box": outputs[keys[0]], "classification": outputs[keys[1]]}
        y_true = {"box": boxes, "classification": classes}
        return HarmonicDetLoss("focal", box_variance=variance)(y_true, y_pred)

    return loss, np.array(classes)


def test_the_loss_is_that_of_the_librarys_own_targets(build, theirs, ours):
    """Value, and gradient by every output."""
    images, targets = data(build)
    by_hand, classes = loss_by_hand(build, theirs, images, targets)
    assert (classes >= 0).sum() > 3
    outputs = theirs(images)
    results = []
    for loss in (by_hand, lambda outputs: ours.compute_loss(images, targets, outputs)):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(outputs)
        results.append((value, tape.gradient(value, outputs)))
    (expected, expected_gradient), (received, gradient) = results
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    for key, value in expected_gradient.items():
        assert np.abs(value).max() > 0
        np.testing.assert_allclose(gradient[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_the_original_stays_as_it_was(build, theirs, ours):
    """Outputs, detections, its own losses; the weights are one and the same."""
    images, targets = data(build)
    dataset = tf.data.Dataset.from_tensors((images, targets))
    theirs.compile(
        optimizer="sgd",
        box_loss=keras.losses.Huber(reduction="sum"),
        classification_loss=keras.losses.MeanSquaredError(reduction="sum"),
        run_eagerly=True,
    )
    found, before = theirs.predict(images, verbose=0), theirs.evaluate(dataset, verbose=0)
    assert all(a is b for a, b in zip(ours.weights, theirs.weights, strict=True))
    assert_same(ours(images), theirs(images))
    assert_same(ours.predict(images, verbose=0), found)
    assert_same(ours.predict_on_batch(images), found)
    ours.evaluate(dataset, verbose=0)
    assert theirs.evaluate(dataset, verbose=0) == before


def test_it_learns_and_goes_on_after_it_was_saved(build, tmp_path):
    """Predictions are the same bit for bit, and the optimizer's state is kept.

    Eagerly, for a graph takes longer to build than a few steps do; examples train in graphs.
    """
    images, targets = data(build)
    dataset = tf.data.Dataset.from_tensors((images, targets))
    model = harmonize(seeded(build))
    model.compile(keras.optimizers.Adam(1e-3), HarmonicDetLoss(margin=0.1), run_eagerly=True)
    losses = model.fit(dataset, epochs=3, shuffle=False, verbose=0).history
    assert losses["loss"][-1] < losses["loss"][0]
    assert {"box_loss", "classification_loss", "inconsistency"} <= losses.keys()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    expected, received = (m.fit(dataset, shuffle=False, verbose=0).history for m in (model, loaded))
    assert received == expected
    model.save_weights(tmp_path / "model.weights.h5")
    other = harmonize(seeded(build))
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(other(images), model(images))


def test_all_ways_to_compile(build, theirs, ours):
    images, targets = data(build)
    outputs = theirs(images)
    values = []
    for arguments, settings in (
        (["adam"], {}),
        (["adam", HarmonicDetLoss()], {}),
        (["adam"], {"loss": HarmonicDetLoss()}),
        ([], {"optimizer": "adam", "loss": HarmonicDetLoss()}),
    ):
        ours.compile(*arguments, **settings)
        values.append(float(ours.compute_loss(images, targets, outputs)))
    assert len(set(values)) == 1
    standard = harmonize(theirs, loss=DetectionLoss())
    standard.compile("adam")
    assert 0 < float(standard.compute_loss(images, targets, outputs)) < values[0]
    assert isinstance(type(standard).from_config(standard.get_config()).default_loss, DetectionLoss)


def test_images_without_objects(build, theirs, ours):
    """Padding alone is as no boxes at all: every anchor is background, beside other images, too."""
    images, targets = data(build)
    outputs = theirs(images)
    padding = {key: np.full_like(value, -1) for key, value in targets.items()}
    nothing = {key: value[:, :0] for key, value in targets.items()}
    values = [float(ours.compute_loss(images, y, outputs)) for y in (padding, nothing)]
    assert 0 < values[0] == values[1] < np.inf
    mixed = {key: np.concatenate([targets[key][:1], padding[key][1:]]) for key in targets}
    lesson, _ = ours.adapter.lessons(images, mixed, outputs, False)
    classes = np.array(lesson.y_true["classification"])
    assert (classes[0] >= 0).any() and (classes[1] == -1).all()
    assert np.isfinite(float(ours.compute_loss(images, mixed, outputs)))


def test_ragged_targets_and_dictionaries(build, ours):
    images, targets = data(build)
    labels = next(key for key in targets if key != "boxes")
    counts = (targets[labels] >= 0).sum(axis=1)
    ragged = {k: tf.RaggedTensor.from_tensor(v, lengths=counts) for k, v in targets.items()}
    losses = [
        ours.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)["loss"]
        for batch in (
            (images, targets),
            (images, ragged),
            {"images": images, "bounding_boxes": targets},
            (images, {"boxes": targets["boxes"], "labels": targets[labels]}),
        )
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


@pytest.mark.parametrize("bounding_box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats(build, theirs, ours, bounding_box_format):
    """The same ground truth in another format, with its padding."""
    if build is hub_retinanet and bounding_box_format == "rel_yxyx":
        pytest.skip("KerasHub's own anchors are of absolute formats only")
    images, targets = data(build)
    outputs = theirs(images)
    expected = float(ours.compute_loss(images, targets, outputs))
    converted = keras.utils.bounding_boxes.convert_format(
        targets["boxes"], "xyxy", bounding_box_format, height=64, width=64
    )
    boxes = np.where(targets["boxes"] == -1, -1, converted)
    other = harmonize(seeded(build, bounding_box_format))
    other.compile("sgd")
    received = float(other.compute_loss(images, {**targets, "boxes": boxes}, outputs))
    assert received == pytest.approx(expected, rel=1e-4)


def test_a_decoder_may_be_set_later(build):
    """On the compiled model, as KerasCV's guide does; it is the detector's, and kept."""
    model = harmonize(seeded(build))
    # A graph, which keeps the decoder that it was built with, is built of one kind only.
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=build is not retinanet)
    images, _ = data(build)
    model.predict(images, verbose=0)
    layers = sys.modules[type(model.prediction_decoder).__module__]
    decoder = layers.NonMaxSuppression("xyxy", from_logits=True, max_detections=7)
    model.prediction_decoder = decoder
    assert model.detector.prediction_decoder is decoder is model.prediction_decoder
    assert model.predict(images, verbose=0)["boxes"].shape == (2, 7, 4)
    again = type(model).from_config(model.get_config())
    assert again.prediction_decoder.max_detections == 7


def test_attributes_are_the_detectors(theirs, ours):
    encoder = theirs.label_encoder
    assert ours.label_encoder is encoder and ours.num_classes == 3
    assert ours.backbone is theirs.backbone
    ours.label_encoder = other = type(encoder).from_config(encoder.get_config())
    assert theirs.label_encoder is other
    theirs.label_encoder = encoder
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ours.nonsense


def test_what_cannot_be_is_refused(theirs, ours):
    with pytest.raises(ValueError, match="`layout` of HarmonicDetLoss must be None"):
        ours.compile("sgd", loss=HarmonicDetLoss(layout="ssd_keras"))
    with pytest.raises(ValueError, match="expected layout=None. Received: layout='ssd_keras'"):
        harmonize(theirs, layout="ssd_keras")
    with pytest.raises(ValueError, match="`classification` of HarmonicDetLoss must be"):
        ours.compile("sgd", loss=HarmonicDetLoss("softmax"))
    with pytest.raises(ValueError, match="expected loss_weights=None"):
        ours.compile("sgd", loss_weights=[1, 2])


def test_ground_truth_that_cannot_be_is_refused(build, theirs, ours):
    images, targets = data(build)
    labels = next(key for key in targets if key != "boxes")
    outputs = theirs(images)
    for key, value, message in (
        ("boxes", np.inf, "must be finite"),
        (labels, 3, "must be whole numbers below 3"),
    ):
        wrong = {**targets, key: targets[key].copy()}
        wrong[key][0, 0] = value
        with pytest.raises(ValueError, match=message):
            ours.compute_loss(images, wrong, outputs)


@pytest.mark.slow
def test_xla_where_the_model_can(build, theirs):
    images, targets = data(build)
    values = []
    for jit_compile in (True, False):
        model = harmonize(theirs)
        model.compile("sgd", loss=HarmonicDetLoss(), jit_compile=jit_compile)
        values.append(model.test_on_batch(images, targets, return_dict=True)["loss"])
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_mixed_precision(build):
    """Loss in float32, optimizer with a loss scale, as the detector's own compile would have it."""
    images, targets = data(build)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        detector = seeded(build)
    finally:
        keras.config.set_dtype_policy(before)
    model = harmonize(detector)
    model.compile("sgd", loss=HarmonicDetLoss(), run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(model.train_on_batch(images, targets)[0])
    assert model.compute_loss(images, targets, model(images)).dtype == "float32"


@pytest.mark.parametrize("name", ["retinanet", pytest.param("yolov8", marks=pytest.mark.slow)])
def test_a_step_on_two_replicas_is_a_step_on_one(name):
    run_two_replicas(name)
