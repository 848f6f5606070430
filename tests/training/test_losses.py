"""Losses by name and settings: their forms as text, and what is refused."""

import re

import pytest

from harmonic_tf.models import FCOS, SSD
from harmonic_tf.training import losses
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.losses import (
    LOSSES,
    build_loss,
    check_loss,
    detector_settings,
    file_name,
    normal_form,
    parse_loss,
    require_distinct,
    settings_of,
    split_losses,
)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classification", ["softmax", "focal"])
def test_every_loss_takes_the_detectors_settings(name, classification):
    settings = {
        "classification": classification,
        "box_variance": (0.1, 0.1, 0.2, 0.2),
        "negative_ratio": 3.0,
    }
    config = build_loss(name, settings).get_config()
    assert {key: config[key] for key in settings} == settings


def test_the_controls_differ_from_what_they_control():
    configs = {name: build_loss(name, {}).get_config() for name in LOSSES}
    assert configs["standard"]["constant_factor"] == 1.0
    assert configs["standard_x2"]["constant_factor"] == 2.0
    assert configs["constant_factors"]["constant_factor"] == 2.0
    assert not configs["constant_factors"]["harmonic"]
    assert configs["harmonic_det"]["harmonic"]
    norm = {"factor_offset": 0.1, "normalize_factors": True, "factor_gradient": False}
    assert LOSSES["harmonic_norm"] == ("HarmonicDetLoss", norm)


def test_settings_come_before_those_of_the_name_and_of_the_detector():
    text = "constant_factors:constant_factor=3,iou_loss=iou,negative_ratio=none,contrastive=false"
    config = build_loss(text, {"negative_ratio": 3.0, "classification": "focal"}).get_config()
    assert config["constant_factor"] == 3 and config["iou_loss"] == "iou"
    assert config["negative_ratio"] is None and config["contrastive"] is False
    assert config["classification"] == "focal" and config["harmonic"] is False


def test_values_are_numbers_truths_none_or_words():
    text = "harmonic_det: alpha=2.0, gamma=.5 ,margin=1e-3,harmonic=True,iou_loss=None"
    name, settings = parse_loss(text)
    assert name == "harmonic_det"
    assert settings == {
        "alpha": 2, "gamma": 0.5, "margin": 0.001, "harmonic": True, "iou_loss": None,
    }  # fmt: skip
    assert settings["harmonic"] is True
    assert parse_loss("harmonic_det:iou_loss=hiou")[1] == {"iou_loss": "hiou"}


def test_one_loss_has_one_normal_form():
    same = ["harmonic_det:alpha=2,gamma=0.5", " harmonic_det : gamma=.50, alpha=2.0 "]
    assert len({normal_form(text) for text in same}) == 1
    assert normal_form(normal_form(same[1])) == normal_form(same[1])
    assert parse_loss(normal_form(same[1])) == parse_loss(same[0])
    assert normal_form("standard") == "standard"


def test_the_name_of_a_file_holds_no_character_that_a_system_refuses():
    name = file_name(normal_form("harmonic_det:alpha=1e-07,iou_loss=none,harmonic=true"))
    assert name == "harmonic_det-alpha=1e-07-harmonic=true-iou_loss=none"
    assert re.fullmatch(r"[\w.=-]+", name)


def test_a_list_of_losses_may_have_settings_in_it():
    text = "standard,harmonic_det:alpha=2,margin=0.1,standard_x2, harmonic:margin=0"
    assert split_losses(text) == [
        "standard", "harmonic_det:alpha=2,margin=0.1", "standard_x2", "harmonic:margin=0",
    ]  # fmt: skip
    with pytest.raises(UserError, match="losses: expected each once; received 'standard,.*'"):
        split_losses("standard,standard")
    with pytest.raises(UserError, match="expected one of standard, .*; received 'alpha=2'"):
        split_losses("alpha=2,standard")


@pytest.mark.parametrize("text", ["harmonic_det:", "harmonic_det:alpha", "harmonic_det:alpha=",
                                  "harmonic_det:=2", "harmonic_det:alpha=1,alpha=2"])  # fmt: skip
def test_other_forms_are_refused(text):
    with pytest.raises(UserError, match=f"expected harmonic_det:key=value.*received '{text}'"):
        parse_loss(text)


def test_plain_names_are_checked_without_keras(monkeypatch):
    monkeypatch.setattr(losses, "_class_and_arguments", None)
    for name in LOSSES:
        check_loss(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("standard:zzz=2", "standard has no setting 'zzz'; it has .*constant_factor"),
        ("harmonic_det:gama=1", "harmonic_det has no setting 'gama'; did you mean 'gamma'"),
        ("harmonic_det:dtype=float64", "no setting 'dtype'"),
        ("harmonic_det:layout=ssd_keras", "no setting 'layout'"),
        ("harmonic_det:alpha=much", "alpha: expected a number; received much"),
        ("harmonic_det:alpha=true", "alpha: expected a number; received true"),
        ("harmonic_det:alpha=none", "alpha: expected a number; received none"),
        ("harmonic_det:harmonic=1", "harmonic: expected true or false; received 1"),
        ("harmonic_det:gamma=2", "harmonic_det:gamma=2: `gamma` must be between 0 and 1"),
        ("harmonic_det:iou_loss=giou", "`iou_loss` must be one of"),
        ("harmonic_det:negative_ratio=-1", "`negative_ratio` must be positive"),
        ("harmonic_det:negative_ratio=true", "`negative_ratio` must be a number. Received: True"),
        ("harmonic_det:min_negatives=0.5", "`min_negatives` must be a whole number"),
        ("constant_factors:factor_offset=0.3", "factor_offset has no effect with harmonic=false"),
        ("harmonic_norm:constant_factor=2", "constant_factor has no effect with harmonic=true"),
        ("harmonic_det:iou_loss=iou,gamma=1", "gamma has no effect with iou_loss=iou"),
        ("harmonic:contrastive=false,margin=0", "margin has no effect with contrastive=false"),
    ],
)
def test_settings_that_the_class_does_not_take_are_named(text, message):
    with pytest.raises(UserError, match=f"loss: .*{message}"):
        check_loss(text)


@pytest.mark.parametrize(
    "pair",
    [
        ("standard_x2", "standard:constant_factor=2"),
        ("harmonic_norm", "harmonic_norm:factor_offset=0.1"),
        ("harmonic_norm",
         "harmonic_det:factor_gradient=false,factor_offset=0.1,normalize_factors=true"),
        ("constant_factors", "harmonic_det:constant_factor=2,harmonic=false"),
    ],
)  # fmt: skip
def test_one_loss_under_two_names_is_named(pair):
    with pytest.raises(UserError, match=f"losses: {pair[0]} and {pair[1]} are the same loss"):
        require_distinct(["standard", *pair])


def test_all_named_losses_are_distinct():
    require_distinct([*LOSSES, "harmonic_norm:factor_offset=0.3", "constant_factors:alpha=1"])


def test_what_can_be_set_has_the_value_of_the_name():
    assert settings_of("constant_factors")["constant_factor"] == 2.0
    assert settings_of("harmonic_det")["constant_factor"] == 1.0
    given = {"classification", "box_variance", "layout", "reduction"}
    assert not given & set(settings_of("harmonic_det"))


def test_which_score_is_coupled_is_said_to_the_detector():
    text = "harmonic_norm:couple_centerness=true,factor_offset=0.3"
    assert detector_settings(text, FCOS) == {"couple_centerness": True}
    assert build_loss(text, {}).get_config()["factor_offset"] == 0.3
    assert detector_settings("harmonic_norm:factor_offset=0.3", SSD) == {}
    assert detector_settings("standard", FCOS) == {"couple_centerness": False}
    with pytest.raises(UserError, match="couple_centerness: SSD has no such setting"):
        detector_settings(text, SSD)
    with pytest.raises(UserError, match="couple_centerness: expected true or false; received 2"):
        check_loss("standard:couple_centerness=2")
