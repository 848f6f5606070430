"""The detectors that come with the package, from where a newcomer stands."""

import json
import os
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from harmonic_tf.models.pretrained import (
    DEFAULT,
    SHOWN_FROM,
    pretrained_folder,
    pretrained_names,
)
from harmonic_tf.training.cli.program import main
from harmonic_tf.training.data import load_data
from harmonic_tf.training.evaluation.evaluator import evaluate_model
from harmonic_tf.training.labels import is_model, load_model_and_labels, located
from harmonic_tf.training.recipe import Recipe, read_recipe, resolve

# In the public domain; matplotlib ships it.
PERSON = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
PERSON_ID = 15  # VOC's classes in the order of their names, from 1
VOC2007 = "HARMONIC_TF_VOC2007"


def test_what_is_there():
    assert pretrained_names() == [DEFAULT]
    folder = pretrained_folder(DEFAULT)
    recipe = read_recipe(folder / "recipe.yaml")
    assert (recipe.model, recipe.train_split) == ("ssd_lite", "trainval")
    assert recipe.data == "voc:VOC2007"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{metrics['AP50']:.1f}" in (folder / "README.md").read_text()
    assert pretrained_folder("none") is None


def test_a_model_of_that_name_comes_first_but_not_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("voc") == pretrained_folder("voc")
    Path("voc").mkdir()
    assert located("voc") == pretrained_folder("voc")
    assert is_model("voc")
    Path("voc/model.keras").touch()
    assert located("voc") == Path("voc")


def test_a_run_can_start_from_it():
    recipe = resolve(Recipe(start="voc"))
    assert recipe.model == "ssd_lite"
    assert recipe.start == "voc"


def test_a_photograph_alone_is_looked_at(tmp_path, monkeypatch, capsys):
    """And beside itself in a mirror: two persons. That data lies in a folder voc is no matter."""
    monkeypatch.chdir(tmp_path)
    Path("voc").mkdir()
    photo = Image.open(PERSON).convert("RGB")
    both = Image.new("RGB", (2 * photo.width, photo.height))
    both.paste(photo, (0, 0))
    both.paste(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (photo.width, 0))
    both.save(tmp_path / "two.png")
    output = tmp_path / "found"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(PERSON), str(tmp_path / "two.png"), "--output", str(output)])
    assert not ended.value.code
    assert f"{PERSON} is no model: looking with voc" in capsys.readouterr().out.replace("\n", "")
    found = json.loads((output / "predictions.json").read_text())
    for name, count in (("grace_hopper.jpg", 1), ("two.png", 2)):
        best = [x for x in found if x["file_name"].endswith(name)][:count]
        assert {x["category_id"] for x in best} == {PERSON_ID}
        width, height = photo.size
        middles = sorted((x["bbox"][0] + x["bbox"][2] / 2) // width for x in best)
        assert middles == list(range(count))
        assert all(x["bbox"][2] > width / 2 and x["bbox"][3] > height / 2 for x in best)
    assert found[0]["score"] > SHOWN_FROM
    assert {path.name for path in (output / "images").iterdir()} == {
        "grace_hopper.jpg", "two.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["photo.jpg"], "photo.jpg: no such file, or no image there"),
        (["photo.jpg", str(PERSON)], "photo.jpg: no such run or model file"),
        (["voc"], "voc is a model; expected images after it"),
    ],
)
def test_what_is_no_photograph_is_named(arguments, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.skipif(VOC2007 not in os.environ, reason=f"{VOC2007} names no folder of VOC 2007")
def test_its_ap_is_the_one_that_is_said():
    """Of its 16-bit weights, on the images that the environment's folder holds."""
    model, labels = load_model_and_labels("voc")
    data = load_data(f"voc:{os.environ[VOC2007]}", "eval", "test", labels.class_names)
    said = json.loads((pretrained_folder("voc") / "metrics.json").read_text())
    assert evaluate_model(model, data).metrics["AP50"] == pytest.approx(said["AP50"], abs=0.5)
