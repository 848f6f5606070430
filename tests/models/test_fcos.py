"""FCOS: torchvision's network and losses, centre-ness by hand, and the score that is coupled."""

import fcos_reference as reference
import keras
import numpy as np
import pytest
import tensorflow as tf
from detectors import build
from plain_rectangles import no_objects, rectangles

from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss, TaskContrastiveLoss
from harmonic_tf.models import FCOS
from harmonic_tf.models.centerness import centerness
from harmonic_tf.models.stages import product_logits


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


@pytest.fixture(scope="module")
def expected():
    with np.load(reference.FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def full_size():
    return build_full_size()


def build_full_size(**settings):
    return FCOS.from_preset(
        "fcos_resnet50_fpn", num_classes=reference.CLASSES, image_size=reference.SIZE, **settings
    )


def load_seeded(network):
    """Fills the pyramid and the heads as torchvision's are filled."""

    def fill(layer, name):
        for variable, part in zip(layer.weights, ("weight", "bias"), strict=True):
            shape = tuple(variable.shape)
            shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
            values = reference.seeded(f"{name}.{part}", shape)
            variable.assign(values.transpose(2, 3, 1, 0) if values.ndim == 4 else values)

    pyramid = network.get_layer("pyramid")
    for i in range(3):
        fill(pyramid.laterals[i], f"inner_blocks.{i}.0")
        fill(pyramid.refinements[i], f"layer_blocks.{i}.0")
    for i in range(2):
        fill(pyramid.extras[i], f"extra_blocks.p{i + 6}")
    for ours, theirs in (("classification", "classification_head"), ("box", "regression_head")):
        for i in range(4):
            fill(network.get_layer(f"{ours}_convolution_{i}"), f"{theirs}.conv.{3 * i}")
            fill(network.get_layer(f"{ours}_norm_{i}"), f"{theirs}.conv.{3 * i + 1}")
    for ours, theirs in (
        ("classification", "classification_head.cls_logits"),
        ("box", "regression_head.bbox_reg"),
        ("centerness", "regression_head.bbox_ctrness"),
    ):
        fill(network.get_layer(f"{ours}_prediction"), theirs)


def test_outputs_are_torchvisions(expected):
    network = build_full_size(torchvision=True).network
    load_seeded(network)
    heads = keras.Model(network.get_layer("pyramid").input, network.output)
    received = heads(list(reference.features().values()))
    for key in ("classification", "box", "centerness"):
        assert np.std(expected[key]) > 0.1
        np.testing.assert_allclose(received[key], expected[key], atol=1e-4, err_msg=key)


def test_standard_losses_are_torchvisions(full_size, expected):
    full_size.compile("sgd", loss=DetectionLoss())
    outputs = {key: expected[key] for key in ("classification", "box", "centerness")}
    truth = {"boxes": reference.BOXES[None], "classes": reference.LABELS[None]}
    total = full_size.compute_loss(np.zeros((1, *reference.SIZE, 3)), truth, outputs)
    parts = {x.name: float(x.result()) for x in full_size.metrics}
    names = {
        "classification_loss": "classification_loss",
        "box_loss": "bbox_regression_loss",
        "centerness_loss": "bbox_ctrness_loss",
    }
    for ours, theirs in names.items():
        assert parts[ours] == pytest.approx(float(expected[theirs]), rel=1e-5), ours
    assert float(total) == pytest.approx(sum(float(expected[x]) for x in names.values()), rel=1e-5)


def test_locations_and_parameters_at_full_size(full_size):
    """Of the heads: two of 4 convolutions with norms; 4, 4 and 1 channels; a scale a level."""
    assert len(full_size.anchors((800, 800))) == 100**2 + 50**2 + 25**2 + 13**2 + 7**2
    names = ("convolution", "norm", "prediction", "scale")
    layers = [x for x in full_size.network.layers if any(name in x.name for name in names)]
    head = 4 * (9 * 256 * 256 + 256 + 2 * 256)
    predictions = (4 + 4 + 1) * (9 * 256 + 1)
    backbone = {x.name for x in full_size.backbone.layers}
    count = sum(x.count_params() for x in layers if x.name not in backbone)
    assert count == 2 * head + predictions + 5


def test_centerness_by_hand():
    """2 of 8 wide and 3 of 6 high: sqrt(2 / 6 * 3 / 3); at an edge 0; in the middle 1."""
    distances = np.array([[2, 3, 6, 3], [0, 1, 5, 2], [2, 7, 2, 7]], "float32")
    np.testing.assert_allclose(centerness(distances), [np.sqrt(1 / 3), 0, 1], rtol=1e-6)


def test_loss_of_centerness_by_hand():
    """One location learns the object: ln 2 for any target at a logit of 0."""
    model = build("fcos_tiny")
    model.compile("sgd", loss=DetectionLoss())
    count = len(model.anchors(model.image_size))
    outputs = {
        "box": np.ones((1, count, 4), "float32"),
        "classification": np.zeros((1, count, 3), "float32"),
        "centerness": np.zeros((1, count), "float32"),
    }
    images, targets = rectangles(count=1)
    losses = []
    for logit in (0.0, 2.0):
        outputs["centerness"] += np.float32(logit)
        model.reset_metrics()
        model.compute_loss(images, targets, outputs)
        losses.append(float(model.other_losses["centerness"].result()))
    y_true = {key: np.array(x)[0] for key, x in model.encode_targets(targets).items()}
    target = np.array(centerness(y_true["box"][y_true["classification"] >= 0]))
    entropy = np.log1p(np.exp(-2.0)) + (1 - target) * 2.0
    assert len(target) > 3
    assert losses == pytest.approx([np.log(2), entropy.mean()], rel=1e-5)


def test_without_objects_centerness_has_no_loss():
    model = build("fcos_tiny")
    model.compile("sgd", loss=DetectionLoss())
    images, _ = rectangles(count=1)
    outputs = model(images)
    total = float(model.compute_loss(images, no_objects(1, 0), outputs))
    logits = np.asarray(outputs["classification"], "float64")
    focal = 0.75 * sigmoid(logits) ** 2 * np.log1p(np.exp(logits))
    assert total == pytest.approx(focal.sum(), rel=1e-4)
    assert float(model.other_losses["centerness"].result()) == 0


def test_detections_are_scored_by_class_and_centerness():
    """Two locations say the same of the class; the one that is better placed is found first."""
    model = build("fcos_tiny")
    squares = model.anchors(model.image_size)
    predictions = {
        "box": np.ones((1, len(squares), 4), "float32"),
        "classification": np.full((1, len(squares), 3), -9, "float32"),
        "centerness": np.zeros((1, len(squares)), "float32"),
    }
    predictions["classification"][0, [100, 200], 1] = 2.0
    predictions["centerness"][0, 200] = 3.0
    found = model.decode_predictions(predictions, np.zeros((1, 160, 208, 3)))
    assert int(found["num_detections"][0]) == 2
    scores = np.sqrt(sigmoid(2.0) * sigmoid([3.0, 0.0]))
    np.testing.assert_allclose(found["confidence"][0, :2], scores, rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][0, 0], squares[200] + [-4, -4, 4, 4])
    np.testing.assert_array_equal(found["classes"][0, :2], [1, 1])


def test_logits_of_a_product():
    a, b = np.array([0.0, 2.0, -30.0, 80.0, 80.0]), np.array([0.0, -1.0, 5.0, -40.0, 80.0])
    received = np.asarray(product_logits(a, b))
    product = sigmoid(a) * sigmoid(b)
    assert received[0] == pytest.approx(np.log(1 / 3), rel=1e-6)
    np.testing.assert_allclose(sigmoid(received), product, rtol=1e-5)
    assert np.isfinite(received).all() and received[4] > 70


@pytest.mark.parametrize("couple", [False, True])
def test_the_score_that_is_coupled(couple):
    """The mean of |p - u| over positives, with p that of the class or times centre-ness."""
    model = build("fcos_tiny", couple_centerness=couple)
    model.compile("sgd", loss=HarmonicDetLoss())
    images, targets = rectangles(count=2)
    outputs = {key: np.asarray(x) for key, x in model(images).items()}
    model.compute_loss(images, targets, outputs)
    y_true = {key: np.asarray(x) for key, x in model.encode_targets(targets).items()}
    positive = y_true["classification"] >= 0
    own = y_true["classification"][positive].astype(int)
    p = sigmoid(outputs["classification"][positive][np.arange(len(own)), own])
    if couple:
        p = p * sigmoid(outputs["centerness"][positive])
    received = {x.name: float(x.result()) for x in model.metrics}
    assert received["mean_p"] == pytest.approx(p.mean(), rel=1e-4)
    assert received["inconsistency"] == pytest.approx(
        inconsistency(p, y_true["box"][positive], outputs["box"][positive]), rel=1e-4
    )


def inconsistency(p, true, pred):
    """From distances to the left, top, right and bottom."""
    width = np.minimum(true[:, 0], pred[:, 0]) + np.minimum(true[:, 2], pred[:, 2])
    height = np.minimum(true[:, 1], pred[:, 1]) + np.minimum(true[:, 3], pred[:, 3])
    areas = [(x[:, 0] + x[:, 2]) * (x[:, 1] + x[:, 3]) for x in (true, pred)]
    iou = width * height / (sum(areas) - width * height)
    return np.abs(p - iou).mean()


def test_the_gradient_of_the_coupled_score_reaches_centerness():
    """Whose own loss is left out: the contrastive loss alone moves it."""
    model = build("fcos_tiny", couple_centerness=True, filters=32, depth=1)
    images, targets = rectangles(count=1)
    loss = TaskContrastiveLoss(margin=0.0).for_detector(model.loss_settings)
    with tf.GradientTape() as tape:
        y_true = model.encode_targets(targets)
        value = loss(y_true, model.loss_inputs(model(images), y_true))
    kernel = model.network.get_layer("centerness_prediction").kernel
    assert np.abs(tape.gradient(value, kernel.value)).max() > 0


def test_new_heads_start_from_the_prior():
    model = build("fcos_tiny")
    scores = sigmoid(model(np.full((1, 160, 208, 3), 127.5, "float32"))["classification"])
    assert scores.mean() == pytest.approx(0.01, rel=0.2)


def test_any_image_size():
    model = build("fcos_tiny", image_size=(None, None))
    for size in ((64, 96), (90, 70)):
        outputs = model(np.zeros((1, *size, 3), "float32"))
        assert outputs["box"].shape[1] == len(model.anchors(size))
