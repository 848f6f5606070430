"""What holds of every detector."""

import inspect

import keras
import numpy as np
import pytest
from detectors import LITE, ONE_STAGE, TINY, TWO_STAGE, build, compile_eagerly, fit
from other_backbones import LIBRARIES, small_resnet, ssd_on
from plain_rectangles import average_precision, batches, no_objects, rectangles

from harmonic_tf import models
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss
from harmonic_tf.models.layers.dtype_policy import dtype_policy
from harmonic_tf.models.resizing import resize_detector

# Of a lite detector, from ImageNet's features and at the size of the tiny ones: quick.
HEADS_ALONE = {"image_size": (160, 208), "weights": "imagenet", "frozen_level": "P5"}


# Of `ssd_tiny` some first weights take longer than 90 steps.
STEPS = {"ssd_tiny": 120}


def learn(preset, pictures, loss, steps=None):
    steps = steps or STEPS.get(preset, 90)
    model = build(preset, **(HEADS_ALONE if preset.endswith("lite") else {}))
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=3e-3, warmup_steps=20)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, global_clipnorm=10.0),
        loss=loss(**model.loss_settings),
    )
    fit(model, batches(pictures, repeat=steps))
    return model


# Their namesakes with masks have all parts of these.
WITHOUT_MASKS = ["faster_rcnn_tiny", "cascade_rcnn_tiny"]
LEARNING = [
    *(x for x in TINY if x not in WITHOUT_MASKS),
    *(pytest.param(x, marks=pytest.mark.slow) for x in WITHOUT_MASKS),
    *LITE,
]


@pytest.fixture(scope="module", params=LEARNING)
def trained(request):
    """A detector that has learned four images with HarmonicDet."""
    pictures = rectangles()
    return learn(request.param, pictures, HarmonicDetLoss), pictures


def test_learns_four_images(trained):
    model, (images, targets) = trained
    check_learned(model, images, targets)


def check_learned(model, images, targets):
    found = model.predict(images, verbose=0)
    assert average_precision(found, targets) > 90
    if model.has_masks:
        assert average_precision(found, targets, masks=True) > 80


@pytest.mark.slow
@pytest.mark.parametrize("preset", TINY)
def test_learns_four_images_with_the_standard_loss(preset):
    images, targets = rectangles()
    model = learn(preset, (images, targets), DetectionLoss, steps=200)
    check_learned(model, images, targets)


@pytest.mark.slow
@pytest.mark.parametrize("preset", [x for x in sorted(models.PRESETS) if not x.endswith("_tiny")])
def test_full_size_presets_take_a_step(preset):
    """At their own input size, within 24 GiB; run each in a process of its own to see the peak."""
    resource = pytest.importorskip("resource")  # not on Windows
    model = build(preset)
    model.compile(optimizer="sgd", loss=HarmonicDetLoss(**model.loss_settings))
    images, targets = rectangles(count=1, image_size=model.image_size)
    stem = model.trainable_weights[0]
    before = np.array(stem)
    assert np.isfinite(fit(model, batches((images, targets)))["loss"][0])
    assert np.any(np.array(stem) != before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 24 * 2**20


def test_saved_and_loaded_predicts_the_same(trained, tmp_path):
    model, (images, targets) = trained
    file = tmp_path / "model.keras"
    model.save(file)
    loaded = keras.saving.load_model(file)
    assert type(loaded) is type(model)
    assert loaded.get_config().keys() == model.get_config().keys()
    expected, received = (m.predict(images, verbose=0) for m in (model, loaded))
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key], err_msg=key)
    for each in (model, loaded):
        each.run_eagerly = True  # quicker for a batch
    before, after = (m.test_on_batch(images, targets) for m in (model, loaded))
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("preset", TINY)
def test_config_holds_every_argument(preset):
    model = build(
        preset, score_threshold=0.02, nms_threshold=0.6, max_detections=7, resize="letterbox"
    )
    config = model.get_config()
    classes = type(model).__mro__[: type(model).__mro__.index(keras.Model)]
    signatures = [
        inspect.signature(x.__init__).parameters for x in classes if "__init__" in vars(x)
    ]
    arguments = {name for x in signatures for name in x} - {"self", "args"}
    arguments -= {name for x in signatures for name, p in x.items() if p.kind is p.VAR_KEYWORD}
    made_of = {"network", "stages", "branches", "settings", "heads", "branch"}
    assert arguments - made_of <= set(config)
    again = type(model).from_config(config)
    assert again.get_config().keys() == config.keys()
    assert again.resize == "letterbox"
    assert again.decoding == model.decoding
    assert again.decoding == {
        "score_threshold": 0.02,
        "iou_threshold": 0.6,
        "max_detections": 7,
    }
    np.testing.assert_array_equal(again.anchors(again.image_size), model.anchors(model.image_size))


def test_a_file_of_an_older_version_is_refused_by_name():
    config = build("ssd_tiny").get_config()
    del config["version"]  # 0.1 did not write any
    with pytest.raises(ValueError, match="this SSD was made by harmonic_tf 0.1.0"):
        models.SSD.from_config(config)


@pytest.mark.parametrize("preset", ["ssd_tiny", "faster_rcnn_tiny"])
def test_the_dtype_policy_is_kept(preset, tmp_path):
    with dtype_policy("mixed_bfloat16"):
        model = build(preset)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    images, _ = rectangles(count=1)
    expected, received = model(images), loaded(images)
    assert expected.keys() == received.keys()
    for key in expected:
        assert expected[key].dtype == received[key].dtype
        np.testing.assert_array_equal(received[key], expected[key], err_msg=key)


@pytest.mark.parametrize("preset", TWO_STAGE)
def test_evaluation_draws_no_random_sample(preset):
    model = build(preset)
    compile_eagerly(model, HarmonicDetLoss)
    images, targets = rectangles(count=2)
    state = np.array(model.sampling_state)
    losses = [model.test_on_batch(images, targets) for _ in range(2)]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(model.sampling_state, state)
    model.train_on_batch(images, targets)
    assert (np.array(model.sampling_state) != state).any()


def test_boxes_outside_the_image_are_no_detections():
    """All anchors but one, with higher scores, are moved out of the image."""
    model = build("ssd_tiny")
    anchors = model.anchors(model.image_size)
    deltas = np.zeros((1, len(anchors), 4), "float32")
    logits = np.zeros((1, len(anchors), 4), "float32") + [9, 0, 0, 0]
    deltas[..., 1] = 1000.0
    deltas[0, 40] = 0
    logits[0, 40] = [7, 0, 0, 0]
    predictions = {"box": deltas, "classification": logits}
    found = model.decode_predictions(predictions, np.zeros((1, 160, 208, 3)))
    assert int(found["num_detections"][0]) == 1
    expected = np.clip(anchors[40], 0, [208, 160, 208, 160])
    np.testing.assert_allclose(found["boxes"][0, 0], expected, atol=1e-3)


@pytest.mark.parametrize("preset", TINY)
def test_predict_gives_kerascv_dictionary(preset):
    model = build(preset, max_detections=12)
    model.run_eagerly = True
    images, _ = rectangles(count=2)
    found = model.predict(images, verbose=0)
    shapes = {key: value.shape for key, value in found.items() if key != "masks"}
    assert shapes == {
        "boxes": (2, 12, 4),
        "confidence": (2, 12),
        "classes": (2, 12),
        "num_detections": (2,),
    }
    present = found["confidence"] >= 0
    np.testing.assert_array_equal(present.sum(axis=1), found["num_detections"])
    assert (found["boxes"][~present] == -1).all() and (found["classes"][~present] == -1).all()
    assert (found["boxes"][present] >= 0).all()
    assert (found["boxes"][present] <= [208, 160, 208, 160]).all()


@pytest.mark.parametrize("preset", TINY)
def test_metrics_of_training(preset):
    model = build(preset)
    compile_eagerly(model, HarmonicDetLoss)
    history = fit(model, batches(rectangles(count=2)))
    own = {
        f"{name}_loss"
        for name in ("arm", "rpn", "head1", "head2", "mask", "centerness", "anchor_based")
    }
    assert set(history) - own == {
        "loss",
        "classification_loss",
        "box_loss",
        "contrastive_loss",
        "coupling_loss",
        "beta_r",
        "beta_c",
        "mean_p",
        "inconsistency",
    }
    assert 0 < history["inconsistency"][0] < 1 and 0 < history["beta_r"][0] < 1
    assert history["mean_p"] == history["beta_c"]


def test_fit_traces_the_step_once(monkeypatch):
    model = build("ssd_tiny", image_size=(64, 96))
    model.compile(optimizer="adamw", loss=DetectionLoss(**model.loss_settings))
    traced = []
    compute_loss = model.compute_loss

    def counted(*args, **kwargs):
        traced.append(args)
        return compute_loss(*args, **kwargs)

    monkeypatch.setattr(model, "compute_loss", counted)
    fit(model, batches(rectangles(image_size=(64, 96), objects=1), repeat=2))
    assert len(traced) == 1


@pytest.mark.parametrize("preset", ["ssd_tiny", "dssd_tiny", "retinanet_tiny"])
def test_reported_loss_is_that_of_the_contract(preset):
    model = build(preset)
    loss = HarmonicDetLoss(**model.loss_settings)
    model.compile(optimizer="sgd", loss=loss, run_eagerly=True)
    images, targets = rectangles(count=2)
    expected = float(loss(model.encode_targets(targets), model(images)))
    received = model.evaluate(batches((images, targets)), verbose=0, return_dict=True)["loss"]
    assert received == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("preset", ONE_STAGE)
def test_layers_own_losses_are_added(preset):
    model = build(preset)
    model.compile(optimizer="sgd", loss=DetectionLoss(**model.loss_settings))
    images, targets = rectangles(count=2)
    predictions = model(images)
    plain = float(model.compute_loss(images, targets, predictions))
    kernel = next(weight for weight in model.trainable_weights if weight.name == "kernel")
    kernel.regularizer = keras.regularizers.L2(0.5)
    penalty = 0.5 * float(np.sum(np.square(kernel)))
    received = float(model.compute_loss(images, targets, predictions))
    assert received == pytest.approx(plain + penalty, rel=1e-5)


@pytest.mark.parametrize("preset", ONE_STAGE)
def test_sample_weights_weigh_images(preset):
    model = build(preset)
    model.compile(optimizer="sgd", loss=DetectionLoss(**model.loss_settings))
    images, targets = rectangles(count=2)
    predictions = model(images)
    whole, first, second = (
        float(model.compute_loss(images, targets, predictions, sample_weight=np.array(weight)))
        for weight in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0])
    )
    assert first + second == pytest.approx(whole, rel=1e-5)
    assert min(first, second) > 0


@pytest.mark.parametrize("preset", TINY)
def test_single_batches(preset):
    model = build(preset)
    compile_eagerly(model, DetectionLoss)
    images, targets = rectangles(count=2)
    nothing = model.test_on_batch(images, targets, sample_weight=np.zeros(2), return_dict=True)
    assert nothing["loss"] == 0
    assert model.train_on_batch(images, targets, return_dict=True)["loss"] > 0
    assert model.predict_on_batch(images)["boxes"].shape == (2, 100, 4)


@pytest.mark.parametrize("preset", TINY)
def test_batches_without_objects(preset):
    model = build(preset)
    compile_eagerly(model, HarmonicDetLoss)
    images, _ = rectangles(count=2)
    for room in (0, 2):
        history = fit(model, batches((images, no_objects(2, room))))
        assert np.isfinite(history["loss"][0])
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize(
    ("preset", "bounding_box_format"),
    [("ssd_tiny", "center_xywh"), ("ssd_tiny", "rel_yxyx"), ("retinanet_tiny", "xywh")],
)
def test_the_format_of_boxes_changes_nothing_else(preset, bounding_box_format):
    images, targets = rectangles(count=2)
    expected = build(preset)
    other = build(preset, bounding_box_format=bounding_box_format)

    def convert(boxes, source, target):
        padding = (boxes[..., :1] == -1) & (boxes[..., 3:] == -1)
        converted = keras.utils.bounding_boxes.convert_format(
            boxes, source, target, height=160, width=208
        )
        return np.where(padding, -1.0, converted)

    converted = {**targets, "boxes": convert(targets["boxes"], "xyxy", bounding_box_format)}
    a, b = expected.encode_targets(targets), other.encode_targets(converted)
    np.testing.assert_array_equal(a["classification"], b["classification"])
    np.testing.assert_allclose(a["box"], b["box"], atol=1e-3)
    a, b = (m.predict(images, verbose=0) for m in (expected, other))
    np.testing.assert_allclose(a["confidence"], b["confidence"], atol=1e-5)
    np.testing.assert_allclose(
        a["boxes"], convert(b["boxes"], bounding_box_format, "xyxy"), atol=1e-2
    )


@pytest.mark.parametrize("preset", TINY)
def test_kerascv_dictionary_of_a_batch(preset):
    model = build(preset)
    compile_eagerly(model, HarmonicDetLoss)
    images, targets = rectangles(count=2)
    data = {"images": images, "bounding_boxes": targets}
    model.fit(batches(data), verbose=0, shuffle=False)
    assert model.evaluate(batches(data), verbose=0)


@pytest.mark.parametrize("preset", TINY)
def test_half_precision(preset):
    with dtype_policy("mixed_bfloat16"):
        model = build(preset)
    compile_eagerly(model, HarmonicDetLoss)
    images, targets = rectangles(count=2)
    assert np.isfinite(fit(model, batches((images, targets)))["loss"][0])
    found = model.decode_predictions(model(images), images)
    assert keras.backend.standardize_dtype(found["boxes"].dtype) == "float32"


def test_presets_are_found_by_name():
    assert {"ssd_tiny", "ssd300_resnet50_fpn", "ssd512_resnet50_fpn"} <= set(models.PRESETS)
    assert models.PRESETS["retinanet_resnet50_fpn"] is models.RetinaNet
    with pytest.raises(ValueError, match="no preset 'ssd'; there are .*ssd_tiny"):
        models.from_preset("ssd", num_classes=1)
    with pytest.raises(ValueError, match=r"must be \(height, width\). Received: 128"):
        models.SSD.from_preset("ssd_tiny", 2, image_size=128)
    with pytest.raises(ValueError, match="SSD has no preset 'retinanet_tiny'"):
        models.SSD.from_preset("retinanet_tiny", num_classes=1)


def test_preset_with_another_input_size():
    model = build("ssd_tiny", image_size=(96, 128))
    assert model.image_size == (96, 128)
    with pytest.raises(ValueError, match=r"takes images of \(96, 128\)"):
        model.anchors((160, 208))


@pytest.mark.parametrize(
    "preset", ["ssd_tiny", "dssd_tiny", "refinedet_tiny", "retinanet_tiny", "cascade_rcnn_tiny"]
)
def test_anchors_of_a_preset_follow_the_image_size(preset):
    spec = models.PRESETS[preset].presets[preset]
    (key,) = spec.settings.keys() & {"anchor_shapes", "anchor_sizes"}
    own, received = (build(preset, image_size=size).settings[key] for size in (None, (160, 52)))
    np.testing.assert_array_equal(own, spec.settings[key])
    ratios = np.asarray(received) / np.asarray(own)  # of a quarter of the area
    assert ratios.max() == pytest.approx(1) and ratios.min() == pytest.approx(0.5)


def test_anchors_that_are_given_or_belong_to_strides_do_not_follow():
    shapes = (((16, 16),),) * 4
    assert build("ssd_tiny", image_size=(80, 104), anchor_shapes=shapes).settings[
        "anchor_shapes"
    ] == tuple(shapes)
    full_size = build("retinanet_resnet50_fpn", backbone="tiny", image_size=(64, 64))
    assert full_size.settings["anchor_sizes"] == (32, 64, 128, 256, 512)


def test_preset_on_another_backbone():
    model = models.from_preset(
        "ssd512_resnet50_fpn", num_classes=3, backbone="tiny", image_size=(96, 128)
    )
    assert model.backbone.architecture == "tiny"
    assert model.settings["filters"] == 256


def test_detectors_on_the_pyramid_of_kerashub(tmp_path):
    """Its levels are outputs of one layer, and an encoder of fixed size lies inside."""
    hub = pytest.importorskip("keras_hub")
    encoder = small_resnet("kerashub", (64, 96, 3))
    shape = {"min_level": 3, "max_level": 6, "use_p5": True, "image_shape": (64, 96, 3)}
    backbone = hub.models.RetinaNetBackbone(encoder, **shape)
    sizes = {"levels": ("P3", "P4", "P5", "P6"), "filters": 8}
    shapes = [[(16, 16)]] * 4
    retinanet = models.RetinaNet(backbone, 2, anchor_sizes=(8, 16, 32, 64), depth=1, **sizes)
    ssd = models.SSD(backbone, 2, anchor_shapes=shapes, **sizes)
    cells = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 1
    assert retinanet.network.output["box"].shape == (None, 9 * cells, 4)
    assert ssd.network.output["box"].shape == (None, cells, 4)
    assert resize_detector(ssd, (128, 64)).image_size == (128, 64)
    ssd.save(tmp_path / "ssd.keras")
    images = rectangles(count=1, image_size=(64, 96), objects=1)[0]
    expected, received = ssd(images), keras.saving.load_model(tmp_path / "ssd.keras")(images)
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key])


@pytest.mark.parametrize("library", LIBRARIES)
def test_ssd_on_another_backbone(library):
    assert ssd_on(library).network.output["box"].shape == (None, 64 + 16 + 4 + 1, 4)
