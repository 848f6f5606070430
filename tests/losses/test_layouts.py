"""The same loss and gradient however targets and predictions are written."""

import functools

import keras
import numpy as np
import pytest
from differentiate import differentiate
from keras import ops
from reference import FORMS, gradients, random_case
from reference import loss as reference_loss

import harmonic_tf
from harmonic_tf import Layout, pack
from harmonic_tf.layouts import LAYOUTS, config_of, fitting_layouts, layout_of
from harmonic_tf.losses import DetectionLoss, HarmonicDetLoss, TaskContrastiveLoss
from harmonic_tf.metrics import InconsistencyCoefficient, MeanScore
from harmonic_tf.ops.one_hot import one_hot_classes

pytestmark = pytest.mark.usefixtures("without_compiling")
every_name = pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "model_garden"])


def contract_case(name, seed=0):
    """Float64 targets and predictions of the contract, in a layout's form."""
    return random_case(layout_of(name).classification, seed, rows=30, spread=1.5)


def one_hot(classes, columns, background):
    """One-hot rows; a background row is zero where there is no column for it, so is an ignored."""
    index = {"first": classes + 1, "last": np.where(classes == -1, columns - 1, classes)}
    index = index.get(background, classes)
    hot = (index[..., None] == np.arange(columns)).astype("float64")
    return np.where((classes == -2)[..., None], 0.0, hot)


def written_targets(name, y_true):
    """What a project's own label encoder returns for targets of the contract."""
    classes, box = y_true["classification"], y_true["box"]
    state = np.sign(classes + 1)[..., None].astype("float64")
    if name == "keras_io_retinanet":
        return np.concatenate([box, classes[..., None]], -1)
    if name == "ssd_keras":
        anchors = np.full((*classes.shape, 8), 1e9)
        return np.concatenate([one_hot(classes, 5, "first"), box, anchors], -1)
    if name == "ssd_tf2":
        hot = one_hot(classes, 5, "first")
        return np.concatenate([box, hot, state == 1], -1)
    return np.concatenate([box, state, one_hot(classes, 4, None), state], -1)


def written_predictions(name, y_pred):
    """What a project's model returns where its logits and boxes are these."""
    logits, box = y_pred["classification"], y_pred["box"]
    if name == "keras_io_retinanet":
        return ops.concatenate([box, logits], -1)
    if name in ("keras_retinanet", "efficientdet"):
        return ops.concatenate([box, ops.sigmoid(logits)], -1)
    score = ops.softmax(ops.concatenate([logits[..., -1:], logits[..., :-1]], -1), axis=-1)
    if name == "ssd_tf2":
        return ops.concatenate([box, score], -1)
    return ops.concatenate([score, box, ops.full((*box.shape[:-1], 8), float("nan"))], -1)


def plain_layout(name):
    """The contract, in the coding and variance of a layout."""
    layout = layout_of(name)
    return Layout(
        box_coding=layout.box_coding,
        box_variance=layout.box_variance,
        background="last" if layout.background else None,
    )


@every_name
@pytest.mark.parametrize("loss", [HarmonicDetLoss, DetectionLoss, TaskContrastiveLoss])
def test_layout_equals_the_contract(name, loss):
    y_true, y_pred = contract_case(name)
    plain = loss(layout=plain_layout(name), dtype="float64")
    expected, slopes = differentiate(plain, y_true, y_pred)
    written = loss(layout=name, dtype="float64")

    def through_layout(y_true, y_pred):
        return written(y_true, written_predictions(name, y_pred))

    value, actual = differentiate(through_layout, written_targets(name, y_true), y_pred)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    for key in slopes:
        np.testing.assert_allclose(actual[key], slopes[key], rtol=1e-6, atol=1e-9, err_msg=key)


@every_name
def test_center_size_layouts_equal_the_loss_without_a_layout(name):
    layout = layout_of(name)
    if layout.box_coding != "center_size":
        pytest.skip("the contract has no corners")
    case = contract_case(name)
    loss = HarmonicDetLoss(layout.classification, box_variance=layout.box_variance, dtype="float64")
    with_layout = HarmonicDetLoss(layout=plain_layout(name), dtype="float64")
    assert (
        float(loss(*case))
        == float(with_layout(*case))
        == float(with_layout(pack(case[0]), pack(case[1])))
    )


@every_name
def test_mined_and_normalized_in_float32(name):
    y_true, y_pred = contract_case(name, seed=1)
    settings = {"negative_ratio": 1.0, "normalize_factors": True, "factor_offset": 0.1}
    plain = HarmonicDetLoss(layout=plain_layout(name), **settings)
    written = HarmonicDetLoss(layout=name, **settings)
    actual = written(written_targets(name, y_true), written_predictions(name, tensors(y_pred)))
    np.testing.assert_allclose(actual, plain(y_true, y_pred), rtol=1e-5)


def tensors(y):
    return {key: ops.convert_to_tensor(value, "float32") for key, value in y.items()}


def test_a_layout_never_switches_mining_on():
    for name in LAYOUTS:
        assert HarmonicDetLoss(layout=name).negative_ratio is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("coding", ["corners", "distances"])
@pytest.mark.parametrize("own", [{}, {"normalize_factors": True}, {"box_loss": "giou"}])
def test_codings_equal_the_reference(form, coding, own):
    """Value and central differences; inverted boxes among the predictions."""
    y_true, y_pred = random_case(form, seed=2, rows=60)
    settings = {"classification": form, "box_coding": coding, **own}
    if coding == "distances":
        rng = np.random.default_rng(3)
        y_true["box"] = rng.uniform(0.2, 3, y_true["box"].shape)
        y_pred["box"] = y_true["box"] + rng.normal(0, 0.7, y_true["box"].shape)
        variance = (1.0,) * 4
    else:
        variance = (0.1, 0.2, 0.3, 0.15)
    settings["box_variance"] = variance
    layout = Layout(
        box_coding=coding,
        box_variance=variance if coding == "corners" else None,
        background="last" if form == "softmax" else None,
    )
    loss = HarmonicDetLoss(layout=layout, **own, dtype="float64")
    value, actual = differentiate(loss, y_true, y_pred)
    np.testing.assert_allclose(value, reference_loss(y_true, y_pred, **settings), rtol=1e-9)
    for key, expected in gradients(y_true, y_pred, **settings).items():
        np.testing.assert_allclose(actual[key], expected, rtol=1e-5, atol=1e-8, err_msg=key)


@pytest.mark.parametrize("box_format", ["xyxy", "center_xywh", "rel_xywh", "yxyx"])
def test_plain_boxes_are_measured_in_sizes_of_the_target(box_format):
    """Target 4 x 2 at (2, 3); prediction half a width to the right: IoU 1/3, differences 1/2."""
    true = {
        "xyxy": [2, 3, 6, 5],
        "center_xywh": [4, 4, 4, 2],
        "rel_xywh": [0.2, 0.3, 0.4, 0.2],
        "yxyx": [3, 2, 5, 6],
    }[box_format]
    moved = {
        "xyxy": [4, 3, 8, 5],
        "center_xywh": [6, 4, 4, 2],
        "rel_xywh": [0.4, 0.3, 0.4, 0.2],
        "yxyx": [3, 4, 5, 8],
    }[box_format]
    layout = Layout(box_coding="boxes", bounding_box_format=box_format)
    loss = HarmonicDetLoss(layout=layout, harmonic=False, contrastive=False, gamma=1.0)
    y_true = {"box": np.array([[true]]), "classification": np.zeros((1, 1))}
    y_pred = {"box": np.array([[moved]], "float64"), "classification": np.array([[[50.0, 0]]])}
    l_loc = 2 * 0.5**2 / 2 + 1.5 * (1 + 1 / 3) * (1 - 1 / 3)
    np.testing.assert_allclose(loss(y_true, y_pred), l_loc, rtol=1e-5)
    assert float(loss(y_true, {**y_pred, "box": y_true["box"]})) == pytest.approx(0, abs=1e-6)


def test_boxes_without_area_stay_finite():
    for coding in ("boxes", "corners", "distances"):
        loss = HarmonicDetLoss(layout=Layout(box_coding=coding))
        for true in ([1.0, 1, 1, 1], [0.0, 0, 0, 0], [3.0, 3, 1, 1]):
            for pred in (true, [0.0, 0, 1, 1], [2.0, 2, 1, 1]):
                y_true = {"box": np.array([[true]]), "classification": np.zeros((1, 1))}
                y_pred = {"box": np.array([[pred]]), "classification": np.zeros((1, 1, 2))}
                value, slopes = differentiate(loss, y_true, y_pred)
                assert np.isfinite(value)
                assert all(np.isfinite(slope).all() for slope in slopes.values())


def test_model_garden_reads_levels_and_weights():
    """Levels in any order, extra keys, and rows of weight 0 that are background by their class."""
    rng = np.random.default_rng(4)
    shapes = {"4": (1, 1), "3": (2, 2), "10": (1, 1)}
    anchors, classes = 3, 5
    sizes = {key: h * w * anchors for key, (h, w) in shapes.items()}
    flat = {
        key: {
            "box_true": rng.normal(size=(2, size, 4)),
            "box_pred": rng.normal(size=(2, size, 4)),
            "classes": rng.integers(-1, classes, (2, size)),
            "logits": rng.normal(size=(2, size, classes)),
        }
        for key, size in sizes.items()
    }

    def levels(name):
        return {key: flat[key][name].reshape(2, *shapes[key], -1) for key in shapes}

    def joined(name):
        return np.concatenate([flat[key][name] for key in ("3", "4", "10")], 1)

    weights = rng.integers(0, 2, (2, sum(sizes.values()))).astype("float64")
    index = np.where(weights == 0, -2, joined("classes"))
    plain = HarmonicDetLoss("focal", box_variance=(1, 1, 1, 1), dtype="float64")
    expected = plain(
        {"box": joined("box_true"), "classification": index},
        {"box": joined("box_pred"), "classification": joined("logits")},
    )
    y_true = {"box_targets": levels("box_true"), "cls_targets": levels("classes")}
    y_true |= {"cls_weights": weights, "groundtruths": "not read"}
    y_pred = {"box_outputs": levels("box_pred"), "cls_outputs": levels("logits"), "more": None}
    loss = HarmonicDetLoss(layout="model_garden", dtype="float64")
    np.testing.assert_allclose(loss(y_true, y_pred), expected, rtol=1e-12)
    np.testing.assert_allclose(loss.with_parts(y_true, y_pred)[0], expected, rtol=1e-12)


@every_name
def test_dictionaries_of_a_layouts_two_tensors(name):
    y_true, y_pred = contract_case(name)
    packed_true, packed = written_targets(name, y_true), written_predictions(name, y_pred)
    layout = layout_of(name)
    loss = HarmonicDetLoss(layout=name, dtype="float64")
    cut = {"ssd_keras": 5, "keras_retinanet": 5, "efficientdet": 5}.get(name, 4)
    parts = [packed_true[..., :cut], packed_true[..., cut:]]
    predicted = [packed[..., :4], packed[..., 4:]]
    if name == "ssd_keras":  # classes come first; what is not read is not there
        parts = [packed_true[..., 5:9], packed_true[..., :5]]
        predicted = [packed[..., 5:9], packed[..., :5]]
    if "class" in layout.targets:
        parts[1] = parts[1][..., 0]
    keys = ("box", "classification")
    actual = loss(dict(zip(keys, parts, strict=True)), dict(zip(keys, predicted, strict=True)))
    np.testing.assert_allclose(actual, loss(packed_true, packed), rtol=1e-12)


SOFT = Layout(targets=("box", "classes"), background="last", from_logits=False)


def soft_case(row):
    score = np.array([[[0.5, 0.3, 0.2]]])
    y_true = np.concatenate([np.zeros((1, 1, 4)), np.array([[row]])], -1)
    return y_true, np.concatenate([np.zeros((1, 1, 4)), score], -1)


@pytest.mark.parametrize(
    ("row", "p"),
    [([1.0, 0, 0], 0.5), ([0.05, 0.9, 0.05], 0.3), ([0.06, 0.04, 0.9], 0.2), ([0, 0, 0], 1)],
)
def test_one_hot_rows_are_read_by_their_largest_entry(row, p):
    loss = DetectionLoss(layout=SOFT)
    assert float(loss(*soft_case(row))) == pytest.approx(-np.log(p), rel=1e-6)


@pytest.mark.parametrize("columns", [1, 2, 80, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_hot_rows_of_many_columns_are_read_exactly(columns, dtype):
    """Also where every other entry is as large as it may be."""
    hot = np.eye(columns)
    rows = np.concatenate([hot, np.where(hot == 1, 0.6, 0.5), np.full((1, columns), 0.5)])
    rows = np.concatenate([rows, np.zeros((1, columns)), np.full((1, columns), np.nan)])
    tensor = np.pad(rows, ((0, 0), (3, 1)), constant_values=9.0)[None].astype(dtype)
    numbers = tuple(range(-1, columns - 1))
    read = ops.convert_to_numpy(one_hot_classes(tensor, 3, numbers, empty=-2, mixed=-3))
    assert read.dtype == dtype
    assert read[0].tolist() == [*numbers, *numbers, -3, -2, -3]


def test_mixed_up_one_hot_rows_are_refused():
    for row in ([0.4, 0.4, 0.2], [1, 1, 0]):
        with pytest.raises(ValueError, match="-3 is a one-hot row .* Received -3"):
            DetectionLoss(layout=SOFT)(*soft_case(row))


@pytest.mark.parametrize("name", ["ssd_keras", "keras_retinanet"])
def test_a_row_of_zeros_is_ignored_in_one_and_background_in_the_other(name):
    y_true, y_pred = contract_case(name)
    packed = written_targets(name, y_true)
    packed[..., 0, :] = 0
    terms = DetectionLoss(layout=name, reduction=None)(packed, written_predictions(name, y_pred))
    assert (np.asarray(terms)[:, 0] > 0).all() == (name == "keras_retinanet")


@pytest.mark.parametrize("name", ["ssd_keras", "keras_retinanet"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_probabilities_of_zero_and_one_stay_finite(name, dtype):
    y_true, y_pred = contract_case(name)
    packed = ops.convert_to_numpy(written_predictions(name, y_pred))
    packed[..., 4 if name == "keras_retinanet" else 0] = 1.0
    packed[..., slice(5, None) if name == "keras_retinanet" else slice(1, 5)] = 0.0
    packed = np.nan_to_num(packed)

    def half(y_true, y_pred):
        return HarmonicDetLoss(layout=name)(y_true, ops.cast(y_pred, dtype))

    packed[..., 5:9] = 0 if name == "ssd_keras" else packed[..., 5:9]
    value, slope = differentiate(half, written_targets(name, y_true), packed.astype("float32"))
    assert value.dtype == "float32" and np.isfinite(value)
    if dtype != "float16":  # whose largest number is 65504
        assert np.isfinite(slope).all()


def test_what_is_no_probability_makes_the_loss_nan():
    y_true, y_pred = soft_case([1.0, 0, 0])
    for bad in (-0.1, 1.1, np.nan, np.inf):
        y_pred[..., 5] = bad
        assert np.isnan(HarmonicDetLoss(layout=SOFT)(y_true, y_pred))


@every_name
def test_metrics_take_a_layout(name):
    y_true, y_pred = contract_case(name)
    for metric in (InconsistencyCoefficient, MeanScore):
        expected = metric(layout=plain_layout(name))(y_true, y_pred)
        written = metric(layout=name)
        actual = written(written_targets(name, y_true), written_predictions(name, tensors(y_pred)))
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
        assert type(written).from_config(written.get_config()).get_config() == written.get_config()


OWN = Layout(targets=("classes", 3, "box"), predictions=("box", "classes"), box_variance=0.5)


@pytest.mark.parametrize("layout", [*LAYOUTS, OWN, Layout(box_coding="boxes")])
def test_config_is_plain_and_complete(layout):
    loss = HarmonicDetLoss(layout=layout)
    config = loss.get_config()["layout"]
    assert isinstance(config, str | dict)
    assert layout_of(config) == layout_of(layout)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert restored.layout == loss.layout and restored.objective == loss.objective
    assert config_of(None) is None


def test_a_model_with_a_layout_trains_and_is_saved(tmp_path):
    inputs = keras.Input((6, 8))
    heads = keras.layers.Dense(4)(inputs), keras.layers.Dense(4, activation="sigmoid")(inputs)
    model = keras.Model(inputs, keras.layers.Concatenate()(heads))
    model.compile(keras.optimizers.Adam(0.01), loss=HarmonicDetLoss(layout="efficientdet"))
    y_true, _ = random_case("focal", seed=6, rows=6, batch=4)
    x = np.random.default_rng(6).normal(size=(4, 6, 8))
    targets = written_targets("efficientdet", y_true)
    values = [float(model.train_on_batch(x, targets)) for _ in range(8)]
    assert values[-1] < values[0]
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert restored.loss.layout == layout_of("efficientdet")


@pytest.mark.parametrize(
    ("true", "pred", "names"),
    [
        (5, 9, {"keras_io_retinanet", "model_garden"}),
        (33, 33, {"ssd_keras"}),
        (26, 25, {"ssd_tf2"}),
        (26, 24, {"keras_retinanet", "efficientdet"}),
        (7, 30, set()),
    ],
)
def test_fitting_layouts(true, pred, names):
    assert set(fitting_layouts(true, pred)) == names


def test_a_layout_that_does_not_fit_names_one_that_does():
    y_true, y_pred = np.zeros((1, 2, 13)), np.zeros((1, 2, 12))
    match = r"13 = 4 \+ 8 \+ 1 columns.*12 = 4 \+ 8 .*layout=\"ssd_tf2\""
    for layout in (None, "ssd_keras", "keras_retinanet"):
        with pytest.raises(ValueError, match=match):
            HarmonicDetLoss(layout=layout)(y_true, y_pred)
    with pytest.raises(ValueError, match=r"`y_true`.*4 \(box\).*\(1, 2, 7\)"):
        HarmonicDetLoss(layout="ssd_tf2")(np.zeros((1, 2, 7)), np.zeros((1, 2, 9)))
    with pytest.raises(ValueError, match=r"keys \['box_outputs', 'cls_outputs'\]"):
        HarmonicDetLoss(layout="model_garden")({"box_targets": 0.0}, {})


@pytest.mark.parametrize(
    "settings",
    [
        {"targets": ("box", "scores")},
        {"targets": ("class",)},
        {"targets": ("box", "class", "classes")},
        {"predictions": ("box", "class")},
        {"box_coding": "centre"},
        {"box_coding": "distances", "box_variance": 2.0},
        {"box_coding": "boxes", "bounding_box_format": "xxyy"},
        {"background": "middle"},
        {"empty_row": "object"},
    ],
)
def test_settings_that_a_layout_refuses(settings):
    with pytest.raises(ValueError, match="must.*Received"):
        Layout(**settings)


def test_what_a_loss_refuses_beside_a_layout():
    with pytest.raises(ValueError, match="`layout` must be a harmonic_tf.Layout or one of"):
        HarmonicDetLoss(layout="ssd")
    with pytest.raises(ValueError, match="`classification` must be.*'focal'.*'softmax'"):
        HarmonicDetLoss("softmax", layout="keras_retinanet")
    with pytest.raises(ValueError, match="`layout` of HarmonicDetLoss must be None"):
        HarmonicDetLoss(layout="ssd_keras").for_detector({"classification": "softmax"})


def test_a_detector_may_have_a_layout_of_its_boxes():
    distances = Layout(box_coding="distances", background=None)
    settings = {"classification": "focal", "box_variance": (1, 1, 1, 1), "negative_ratio": None}
    loss = HarmonicDetLoss().for_detector({**settings, "layout": distances})
    assert loss.layout == distances and loss.objective.box_coding == "corners"
    assert loss.for_detector({**settings, "layout": distances}).layout == distances
    with pytest.raises(ValueError, match="`layout` of HarmonicDetLoss must be None"):
        loss.for_detector(settings)


def test_the_layouts_own_variance_replaces_the_losses():
    loss = functools.partial(HarmonicDetLoss, box_variance=(1, 1, 1, 1))
    assert loss(layout="keras_retinanet").objective.box_variance == (0.2,) * 4
    assert loss(layout=Layout(box_coding="corners")).objective.box_variance == (1.0,) * 4
    assert harmonic_tf.Layout is Layout
