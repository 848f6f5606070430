"""A run that starts from a trained detector."""

import json
import shutil
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from toy_runs import RECIPE, InterruptAfter

from harmonic_tf.models import from_preset
from harmonic_tf.training.build import build_model
from harmonic_tf.training.cli.program import main
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.labels import Labels, write_labels
from harmonic_tf.training.recipe import Recipe, resolve, write_recipe
from harmonic_tf.training.start import start_preset
from harmonic_tf.training.train import resume, train

SIZE = (64, 64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that has learned three classes."""
    folder = tmp_path_factory.mktemp("runs") / "animals"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    from_preset("ssd_tiny", 3, image_size=SIZE).save(folder / "model.keras")
    write_labels(folder, Labels(("cat", "ring", "dog"), (1, 2, 3)))
    write_recipe(Recipe(model="ssd_tiny", data="voc:/animals"), folder / "recipe.yaml")
    return folder


def logits(model):
    return np.asarray(model(np.full((1, *SIZE, 3), 9.0, "float32"))["classification"])


def test_heads_of_classes_with_the_same_name_are_kept(trained, capsys):
    recipe = resolve(Recipe(start=str(trained), weights="auto"))
    model = build_model(recipe, ("blob", "ring", "cat"))
    then = logits(keras.saving.load_model(trained / "model.keras"))
    np.testing.assert_array_equal(logits(model)[..., 1:], then[..., [1, 0, 3]])
    line = capsys.readouterr().out.replace("\n", " ")
    assert "heads kept for ring, cat, left behind for dog; new for blob" in line


def test_the_start_decides_what_is_trained_but_not_how(trained):
    recipe = resolve(Recipe(start=str(trained), freeze_backbone="P3"))
    assert (recipe.model, recipe.weights) == ("ssd_tiny", "auto")
    assert recipe.start == str(trained / "model.keras")
    model = build_model(recipe, ("cat",))
    assert model.image_size == SIZE
    learned = {variable.path.split("_")[0] for variable in model.backbone.trainable_variables}
    assert learned == {"P4", "P5"}
    assert resolve(recipe) == recipe


@pytest.mark.parametrize("loss", ["standard", "harmonic_det:couple_centerness=true"])
def test_the_loss_and_not_the_start_says_which_score_is_coupled(loss, tmp_path):
    file = tmp_path / "model.keras"
    from_preset("fcos_tiny", 1, image_size=SIZE, couple_centerness=loss == "standard").save(file)
    model = build_model(resolve(Recipe(start=str(file), loss=loss)), ("cat",))
    assert model.get_config()["couple_centerness"] is (loss != "standard")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "retinanet_tiny"}, "model: that of --start is ssd_tiny; received 'retinanet_t"),
        ({"backbone": "resnet50"}, "backbone: the detector that --start names has its own"),
        ({"image_size": (96, 96)}, "image_size: the detector that --start names has its own"),
        ({"resize": "letterbox"}, "resize: the detector that --start names has its own"),
        ({"weights": "imagenet"}, "weights: those of --start are taken; received 'imagenet'"),
        ({"weights": "none"}, "weights: those of --start are taken; received 'none'"),
    ],
)
def test_what_the_start_decides_is_not_to_be_given(trained, settings, reason):
    with pytest.raises(UserError, match=reason):
        resolve(Recipe(start=str(trained), **settings))


def test_a_file_without_a_run(trained, tmp_path, capsys):
    """It has no recipe, from which its preset is known, and no names of classes."""
    file = shutil.copy(trained / "model.keras", tmp_path / "other.keras")
    recipe = resolve(Recipe(start=str(file)))
    assert recipe.model == "ssd_tiny"
    build_model(recipe, ("cat",))
    line = capsys.readouterr().out.replace("\n", " ")
    assert "no head kept, since no labels.json beside it names its classes; new for cat" in line


def test_the_preset_of_a_file_is_that_of_its_class_and_backbone(tmp_path):
    backbone = keras.saving.serialize_keras_object(from_preset("fcos_tiny", 1).backbone)
    model = from_preset("fcos_tiny", 1)
    model.save(tmp_path / "model.keras")
    assert backbone["config"]["architecture"] == "tiny"
    assert start_preset(str(tmp_path / "model.keras")) == "fcos_tiny"


@pytest.mark.parametrize(
    ("kind", "backbone", "preset"),
    [
        ("SSD", "vgg16_torchvision", "ssd300_vgg16"),
        ("SSD", "resnet50", "ssd300_resnet50_fpn"),
        ("RetinaNet", "resnet50_torchvision", "retinanet_resnet50_fpn"),
        ("SSD", "mobilenet_v2", "ssd300_resnet50_fpn"),
    ],
)
def test_the_preset_of_an_imported_file_is_that_of_its_network(kind, backbone, preset, tmp_path):
    """And a recipe of another detector that lies in its folder is not the file's."""
    config = {"backbone": {"config": {"architecture": backbone}}}
    file = tmp_path / "model.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": kind, "config": config}))
    assert start_preset(str(file)) == preset
    write_recipe(Recipe(model="fcos_tiny"), tmp_path / "recipe.yaml")
    assert start_preset(str(file)) == preset


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_what_is_no_detector_is_named(tmp_path, content):
    file = tmp_path / "model.keras"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=str(file)):
        resolve(Recipe(start=str(file)))


def test_a_model_of_another_kind_is_named(tmp_path):
    file = tmp_path / "model.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(file)
    with pytest.raises(UserError, match="expected a detector of harmonic_tf.models to start from"):
        resolve(Recipe(start=str(file)))


def test_a_run_goes_on_from_where_the_other_was(trained, tmp_path, monkeypatch):
    """The first step sees the start's weights, and a stopped run goes on as one that was not."""
    monkeypatch.chdir(tmp_path)
    recipe = replace(RECIPE, start=str(trained), data="shapes:train=4,val=2", batch_size=2)
    whole = train(recipe, tmp_path / "whole", extras=False)
    stopped = train(recipe, tmp_path / "stopped", extras=False, callbacks=[InterruptAfter(3)])
    assert not stopped.finished
    assert resume(stopped.folder, extras=False).finished
    metrics = [json.loads((run.folder / "metrics.json").read_text()) for run in (whole, stopped)]
    assert metrics[0] == metrics[1]
    one, other = (keras.saving.load_model(r.folder / "model.keras") for r in (whole, stopped))
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    shutil.move(trained / "model.keras", trained / "moved.keras")
    assert resume(whole.folder, extras=False).finished
    shutil.move(trained / "moved.keras", trained / "model.keras")


def test_the_command_line(trained, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    with pytest.raises(SystemExit) as ended:
        main(["train", "--start", str(missing), "--output", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert f"{missing}: no such run or model file" in capsys.readouterr().err.replace("\n", "")
