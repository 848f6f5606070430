"""Recipes: defaults, YAML, and errors that name the file, the key and what was expected."""

import dataclasses
from pathlib import Path

import pytest

from harmonic_tf.models import PRESETS, backbones
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.recipe import (
    Recipe,
    model_defaults,
    read_recipe,
    resolve,
    write_recipe,
)


def read(tmp_path, text):
    path = tmp_path / "cells.yaml"
    path.write_text(text)
    return read_recipe(path)


def test_a_recipe_survives_yaml(tmp_path):
    recipe = Recipe(
        data="voc:cells", class_names=("RBC", "été"), image_size=(160, 208), learning_rate=2e-3,
        epochs=7, freeze_batch_norm=False, seed=3, loss="standard_x2",
    )  # fmt: skip
    assert read_recipe(write_recipe(recipe, tmp_path / "deep" / "recipe.yaml")) == recipe


def test_every_setting_survives_yaml_at_its_default(tmp_path):
    assert read_recipe(write_recipe(Recipe(), tmp_path / "recipe.yaml")) == Recipe()
    resolved = resolve(Recipe())
    assert read_recipe(write_recipe(resolved, tmp_path / "recipe.yaml")) == resolved


def test_an_empty_file_is_the_default_recipe(tmp_path):
    assert read(tmp_path, "# nothing yet\n") == Recipe()


def test_numbers_as_people_write_them(tmp_path):
    recipe = read(tmp_path, "learning_rate: 2e-3\nclip_norm: 5\nimage_size: [300, 300]\n")
    assert (recipe.learning_rate, recipe.clip_norm) == (0.002, 5.0)
    assert isinstance(recipe.clip_norm, float)
    assert recipe.image_size == (300, 300)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "unknown setting 'epoch'; did you mean 'epochs'?"),
        ("zzz: 3", "unknown setting 'zzz'; settings are model, data"),
        ("epochs: many", r"epochs: expected a whole number or null; received 'many' \(str\)"),
        ("epochs: true", r"epochs: expected a whole number or null; received True \(bool\)"),
        ("epochs: 2.5", r"epochs: expected a whole number or null; received 2.5 \(float\)"),
        ("epochs: 1e23", "epochs: expected a whole number or null"),
        (f"epochs: {10**23}", f"epochs: expected at most 2147483647; received {10**23}"),
        ("learning_rate: 1e39", "learning_rate: expected at most 3.4e"),
        ("epochs: 0", "epochs: expected at least 1; received 0"),
        ("learning_rate: fast", "learning_rate: expected a number or null; received 'fast'"),
        ("learning_rate: -1", "learning_rate: expected greater than 0; received -1.0"),
        ("clip_norm: .nan", "clip_norm: expected greater than 0; received nan"),
        ("warmup: 1", "warmup: expected at least 0 and below 1; received 1.0"),
        ("loss: best", "loss: expected one of standard, standard_x2, .*; received 'best'"),
        ("loss: harmonic_det:alpha", "loss: expected harmonic_det:key=value"),
        ("loss: 3", r"loss: expected text; received 3 \(int\)"),
        ("strategy: no", r"strategy: expected one of none, mirrored; received False \(bool\)"),
        ("class_names: cat", "class_names: expected a list of str or null; received 'cat'"),
        ("class_names: [cat, 3]", "class_names: expected a list of str or null"),
        ("image_size: [300]", "image_size: expected a list of 2 int or null"),
        ("freeze_batch_norm: 1", "freeze_batch_norm: expected true or false or null"),
        ("- epochs", r"expected lines of `setting: value`; received \['epochs'\] \(list\)"),
        ("a: [", "not YAML"),
        ("data: 2020-13-45", "not YAML: month must be in 1..12"),
        ("seed: " + 5000 * "7", "not YAML: Exceeds the limit"),
        ("seed: !!int ''", "not YAML"),
        ("seed: [" * 5000, "not YAML"),
        ("seed: 1\nepochs: 2\nseed: 2", "line 3: seed comes twice"),
        ("val_seed: &a 1\nseed: *a", r"line 2: aliases such as \*a are not read"),
        ("<<: [&a {seed: 1}, *a]", r"line 1: aliases such as \*a are not read"),
        ("seed: " + 1000 * "x", r"seed: expected a whole number; received '.{98}' \(str\)$"),
        (
            "seed: [[[x], y], z]",
            r"seed: expected a whole number; received \[\[\[...\], 'y'\], 'z'\]",
        ),
        (1000 * "x" + ": 1", "unknown setting '.{98}'; settings are"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=f"cells.yaml: {message}"):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing.yaml: cannot be read"):
        read_recipe(tmp_path / "nothing.yaml")


def test_none_becomes_the_models_own_value():
    recipe = resolve(Recipe(model="retinanet_resnet50_fpn", learning_rate=0.5))
    assert recipe.learning_rate == 0.5
    assert recipe.optimizer == "sgd"
    assert resolve(recipe) == recipe
    assert recipe.image_size is None


def test_every_preset_says_how_it_is_trained():
    left_to_models = {"epochs", "batch_size", "optimizer", "learning_rate", "weight_decay"}
    left_to_models.add("augmentation")
    for model in PRESETS:
        defaults = dict(model_defaults(model))
        from_trained = defaults.pop("trained", {})
        assert set(from_trained) <= {"learning_rate", "backbone_rate"}
        assert set(defaults) == left_to_models, model
        assert dataclasses.replace(Recipe(), **defaults | from_trained)


def test_a_loss_with_settings_survives_yaml_and_is_checked_when_resolved(tmp_path):
    recipe = Recipe(loss="harmonic_det: margin=.1, alpha=2")
    assert recipe.loss == "harmonic_det:alpha=2,margin=0.1"
    assert read_recipe(write_recipe(recipe, tmp_path / "recipe.yaml")) == recipe
    assert resolve(recipe).loss == recipe.loss
    with pytest.raises(UserError, match="has no setting 'marg'; did you mean 'margin'"):
        resolve(Recipe(loss="harmonic_det:marg=0.1"))


def test_a_preset_that_is_not_there():
    with pytest.raises(UserError, match="no preset 'sdd_tiny'; did you mean 'ssd_tiny'"):
        resolve(Recipe(model="sdd_tiny"))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("shapes", "shapes"),
        ("shapes:train=20,classes=5", "shapes"),
        ("voc:some/where/bccd/", "bccd"),
        ("voc:.", "voc"),
        ("tfds:voc/2007+2012", "voc_2007_2012"),
        ("some/where/bccd", "bccd"),
        ("coco:some/cells.json,images=some/photos", "cells.json"),
    ],
)
def test_the_name_of_a_run(data, name):
    assert Recipe(data=data, seed=4).name == f"{name}-ssd_tiny-harmonic_det-seed4"
    loss = Recipe(data=data, loss="harmonic_det:margin=0.1,alpha=2")
    assert loss.name == f"{name}-ssd_tiny-harmonic_det-alpha=2-margin=0.1-seed1"
    other = Recipe(data=data, seed=4, backbone="resnet50")
    assert other.name == f"{name}-ssd_tiny-resnet50-harmonic_det-seed4"


def test_a_folder_is_found_from_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(Recipe(data="voc:cells")).data == f"voc:{tmp_path / 'cells'}"
    assert resolve(Recipe(data="shapes:train=3")).data == "shapes:train=3"


def test_what_of_the_backbone_is_frozen():
    assert resolve(Recipe(freeze_backbone="p3", weights="none")).freeze_backbone == "P3"
    message = "freeze_batch_norm: expected true where .* is frozen; received False"
    with pytest.raises(UserError, match=message):
        resolve(Recipe(freeze_backbone="all", weights="none", freeze_batch_norm=False))


def test_weights_are_those_that_are_there(monkeypatch):
    monkeypatch.setattr(backbones, "available_weights", lambda name: ("imagenet", name))
    assert resolve(Recipe()).weights == "imagenet"
    assert resolve(Recipe(weights="none")).weights == "none"
    monkeypatch.setattr(backbones, "available_weights", lambda name: ("none", name))
    assert resolve(Recipe()).weights == "none"


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lite.pth").touch()
    Path("preset").mkdir()
    assert resolve(Recipe(weights="lite.pth")).weights == str(tmp_path / "lite.pth")
    recipe = resolve(Recipe(backbone="keras_cv:./preset", weights="none"))
    assert recipe.backbone == f"keras_cv:{tmp_path / 'preset'}"
    assert recipe.subject == "shapes-ssd_tiny-keras_cv-preset"
    for name in ("keras_cv:resnet50_imagenet", "resnet50"):
        assert resolve(Recipe(backbone=name, weights="none")).backbone == name
    Path("run.keras").touch()
    for name in ("voc", "run.keras"):
        with pytest.raises(UserError, match=f"weights: .*, which '{name}' is not .*--start"):
            resolve(Recipe(weights=name))


@pytest.mark.parametrize(
    ("model", "weights", "learning_rate", "rate"),
    [
        ("ssd_lite", "imagenet", 0.006, 0.033),
        ("ssd_lite", "none", 0.002, 1.0),
        ("retinanet_lite", "imagenet", 0.002, 0.1),
        ("ssd512_resnet50_fpn", "a.h5", 0.002, 1.0),
    ],
)
def test_a_backbone_has_a_rate_of_its_own_where_it_starts_from_trained_weights(
    model, weights, learning_rate, rate, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("a.h5").touch()
    recipe = resolve(Recipe(model=model, weights=weights))
    assert recipe.learning_rate == learning_rate
    assert (recipe.backbone_rate, recipe.freeze_backbone) == (rate, "none")
    asked = Recipe(model=model, weights=weights, backbone_rate=0.5, freeze_backbone="4")
    assert (resolve(asked).backbone_rate, resolve(asked).freeze_backbone) == (0.5, "P4")


@pytest.mark.parametrize("rate", [0.0, float("inf")])
def test_a_rate_that_cannot_be(rate):
    with pytest.raises(UserError, match="backbone_rate: expected"):
        Recipe(backbone_rate=rate)
