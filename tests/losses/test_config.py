"""Every public loss and metric is rebuilt from its config without losing a setting."""

import inspect

import keras
import numpy as np
import pytest

from harmonic_tf import losses, metrics

# Every constructor's arguments, each away from its default.
SETTINGS = {
    "classification": "focal",
    "alpha": 0.7,
    "gamma": 0.25,
    "margin": 0.125,
    "iou_loss": "iou",
    "box_loss": "giou",
    "harmonic": False,
    "contrastive": False,
    "factor_gradient": False,
    "factor_offset": 0.125,
    "normalize_factors": True,
    "box_variance": (1.0, 1.0, 0.5, 0.5),
    "negative_ratio": 2.5,
    "min_negatives": 7,
    "constant_factor": 1.75,
    "focal_alpha": 0.375,
    "focal_gamma": 1.5,
    "layout": "efficientdet",
    "bounding_box_format": "center_xywh",
    "name": "another",
    "dtype": "float64",
}
LOSSES = [getattr(losses, name) for name in losses.__all__]
METRICS = [
    metrics.InconsistencyCoefficient,
    metrics.MeanScore,
    metrics.MeanHarmonicFactor,
]


def constructor_arguments(cls):
    """Names of a constructor's arguments; through `*args` and `**kwargs`, its parents' too."""
    names = set()
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = list(inspect.signature(owner.__init__).parameters.values())[1:]
        passed_on = {p.VAR_POSITIONAL, p.VAR_KEYWORD} if (p := inspect.Parameter) else set()
        names |= {p.name for p in parameters if p.kind not in passed_on}
        if not any(p.kind in passed_on for p in parameters):
            return names
    return names


@pytest.mark.parametrize("cls", LOSSES + METRICS)
def test_config_is_complete(cls):
    names = constructor_arguments(cls)
    settings = {name: value for name, value in SETTINGS.items() if name in names}
    settings["reduction"] = "sum"
    if "factor" in names:
        settings["factor"] = "beta_c"
    assert set(settings) == names

    config = cls(**settings).get_config()
    for name, value in settings.items():
        assert config[name] == value, name
    assert cls.from_config(config).get_config() == config


@pytest.mark.parametrize("cls", LOSSES + METRICS)
def test_serialisation_round_trip(cls):
    original = cls("beta_r") if cls is metrics.MeanHarmonicFactor else cls()
    serialised = keras.saving.serialize_keras_object(original)
    assert serialised["registered_name"] == f"harmonic_tf>{cls.__name__}"
    restored = keras.saving.deserialize_keras_object(serialised)
    assert type(restored) is cls
    assert restored.get_config() == original.get_config()


def test_defaults_are_the_papers():
    config = losses.HarmonicDetLoss().get_config()
    assert (config["alpha"], config["gamma"], config["margin"]) == (1.5, 0.8, 0.2)
    assert config["iou_loss"] == "hiou" and config["harmonic"] and config["contrastive"]


AUTO = {"classification": "auto", "box_variance": "auto", "negative_ratio": "auto"}
RETINANET = {"classification": "focal", "box_variance": (1, 1, 1, 1), "negative_ratio": None}
SSD = {"classification": "softmax", "box_variance": (0.1, 0.1, 0.2, 0.2), "negative_ratio": 3.0}
JOINT = [losses.HarmonicDetLoss, losses.HarmonicLoss, losses.DetectionLoss]


@pytest.mark.parametrize("cls", JOINT)
def test_auto_without_a_detector_is_softmax_kerascvs_variance_and_no_mining(cls):
    loss = cls()
    assert {name: loss.get_config()[name] for name in AUTO} == AUTO
    assert loss.objective.classification == "softmax"
    assert loss.objective.box_variance == (0.1, 0.1, 0.2, 0.2)
    assert loss.negative_ratio is None


@pytest.mark.parametrize("cls", JOINT)
@pytest.mark.parametrize("detector", [RETINANET, SSD])
def test_auto_is_filled_by_the_detector(cls, detector):
    before = cls(constant_factor=1.5, name="mine", reduction=None)
    loss = before.for_detector(detector)
    assert type(loss) is cls
    assert loss.get_config() == {**before.get_config(), **detector}
    assert loss.objective.classification == detector["classification"]
    assert loss.negative_ratio == detector["negative_ratio"]
    assert {name: before.get_config()[name] for name in AUTO} == AUTO


def test_a_loss_takes_what_it_has_and_leaves_the_rest():
    loss = losses.TaskContrastiveLoss().for_detector({**SSD, "another": 1})
    assert loss.get_config()["box_variance"] == SSD["box_variance"]
    assert loss.negative_ratio is None


def test_what_agrees_with_the_detector_may_be_set():
    loss = losses.HarmonicDetLoss("focal", box_variance=[1.0, 1.0, 1.0, 1.0])
    assert loss.for_detector(RETINANET).objective == loss.objective


@pytest.mark.parametrize("ratio", [None, 1.0])
def test_a_ratio_that_was_set_stays(ratio):
    assert losses.DetectionLoss(negative_ratio=ratio).for_detector(SSD).negative_ratio == ratio


def test_the_standard_box_loss_is_the_detectors_unless_it_was_set():
    fcos = {**RETINANET, "box_loss": "giou"}
    assert losses.DetectionLoss().for_detector(fcos).objective.box_loss == "giou"
    assert losses.DetectionLoss().for_detector(RETINANET).objective.box_loss == "smooth_l1"
    mine = losses.DetectionLoss(box_loss="log_iou")
    assert mine.for_detector(fcos).objective.box_loss == "log_iou"
    assert losses.HarmonicDetLoss().for_detector(fcos).objective.box_loss == "smooth_l1"


@pytest.mark.parametrize(
    ("setting", "value"), [("classification", "softmax"), ("box_variance", (0.1, 0.1, 0.2, 0.2))]
)
def test_what_contradicts_the_detector_is_refused(setting, value):
    loss = losses.HarmonicDetLoss(**{setting: value})
    with pytest.raises(ValueError, match=f"`{setting}` of HarmonicDetLoss") as error:
        loss.for_detector(RETINANET)
    assert repr(value) in str(error.value) and repr(RETINANET[setting]) in str(error.value)


def test_compiled_model_keeps_its_loss(tmp_path):
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, keras.layers.Dense(7)(inputs))
    model.compile("sgd", loss=losses.HarmonicDetLoss("focal", gamma=0.5, negative_ratio=3.0))
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert restored.loss.get_config() == model.loss.get_config()
    features = np.ones((1, 3, 2))
    np.testing.assert_array_equal(restored.predict(features, verbose=0), model(features))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gamma", 1.1),
        ("gamma", -0.1),
        ("gamma", float("nan")),
        ("alpha", -1),
        ("margin", float("inf")),
        ("constant_factor", -2),
        ("factor_offset", -0.1),
        ("focal_alpha", float("nan")),
        ("focal_gamma", -1),
        ("classification", "sigmoid"),
        ("iou_loss", "giou"),
        ("box_variance", (0.1, 0.1, 0.2)),
        ("box_variance", (0.1, 0.1, 0.2, 0.0)),
        ("min_negatives", -1),
        ("min_negatives", float("inf")),
        ("min_negatives", 0.5),
        ("negative_ratio", True),
        ("alpha", None),
        ("factor_offset", "0.1"),
        ("factor_gradient", "false"),
        ("normalize_factors", "yes"),
        ("harmonic", None),
    ],
)
def test_settings_outside_their_range(setting, value):
    with pytest.raises(ValueError, match=f"`{setting}`.*[Rr]eceived"):
        losses.HarmonicDetLoss(**{setting: value})


def test_half_precision_policy_still_computes_in_float32():
    assert losses.HarmonicDetLoss(dtype="mixed_float16").dtype == "float32"
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert losses.HarmonicDetLoss().dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
