import json
import subprocess
import sys
import zipfile

import keras
import pytest
from rectangles import IMAGES, RectangleFinder, rectangle_data

from harmonic_tf import models
from harmonic_tf.training.labels import (
    Labels,
    load_model_and_labels,
    read_labels,
    write_labels,
)

LABELS = Labels(("red", "green", "blue"), (3, 0, 7))


def test_labels_survive_the_file(tmp_path):
    path = write_labels(tmp_path / "run", LABELS)
    assert json.loads(path.read_text()) == {
        "class_names": ["red", "green", "blue"],
        "category_ids": [3, 0, 7],
    }
    assert read_labels(tmp_path / "run") == LABELS


def test_numbered_and_of():
    assert Labels.numbered(2) == Labels(("class 0", "class 1"), (1, 2))
    assert Labels.of(rectangle_data(IMAGES)) == LABELS


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (("a", "b"), (1,), "2 names and 1 ids"),
        (("a", "a"), (1, 2), "class_names must not repeat"),
        (("a", "b"), (1, 1), "category_ids must not repeat"),
    ],
)
def test_labels_that_do_not_fit_are_refused(names, ids, message):
    with pytest.raises(ValueError, match=message):
        Labels(names, ids)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"class_names": ["a"]}',
        '{"class_names": ["a", "b"], "category_ids": [Infinity, 1]}',
        '{"class_names": "ab", "category_ids": [1, 2]}',
        pytest.param(50_000 * "[", id="deep"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ValueError, match="labels.json: expected"):
        read_labels(tmp_path)


def saved(folder):
    model = RectangleFinder(image_size=(16, 24), resize="letterbox")
    model.build(None)
    model.save(folder / "model.keras")
    return folder


def test_a_run_and_its_file_load(tmp_path):
    write_labels(saved(tmp_path), LABELS)
    for path in (tmp_path, str(tmp_path / "model.keras")):
        model, labels = load_model_and_labels(path)
        assert (model.image_size, model.resize, labels) == ((16, 24), "letterbox", LABELS)


def test_a_real_detector_loads_in_a_process_that_imported_nothing_else(tmp_path):
    model = models.from_preset("ssd_tiny", num_classes=3)
    model.save(tmp_path / "model.keras")
    code = f"""
from harmonic_tf.training.labels import load_model_and_labels
model, labels = load_model_and_labels({str(tmp_path)!r})
assert (type(model).__name__, model.num_classes, labels) == ("SSD", 3, None)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_file_without_labels_gives_none(tmp_path):
    assert load_model_and_labels(saved(tmp_path))[1] is None


def test_labels_of_another_model_are_refused(tmp_path):
    write_labels(saved(tmp_path), Labels.numbered(2))
    with pytest.raises(ValueError, match="names 2 classes; model.keras has 3"):
        load_model_and_labels(tmp_path)


def test_paths_without_a_model_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such run"):
        load_model_and_labels(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected a run's folder with model.keras"):
        load_model_and_labels(tmp_path)
    (tmp_path / "model.keras").write_text("no model")
    with pytest.raises(ValueError, match="model.keras: not a Keras model"):
        load_model_and_labels(tmp_path)
    content = saved(tmp_path).joinpath("model.keras").read_bytes()
    locked = content.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")  # with a password
    assert locked != content
    (tmp_path / "model.keras").write_bytes(locked)
    with pytest.raises(ValueError, match="model.keras: not a Keras model that can be loaded"):
        load_model_and_labels(tmp_path)
    with zipfile.ZipFile(tmp_path / "archive.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
        for name, content in (("config", 50_000 * "["), ("metadata", "{}")):
            archive.writestr(f"{name}.json", content)
        archive.writestr("model.weights.h5", "")
    for name in ("archive", "deep"):
        with pytest.raises(ValueError, match=f"{name}.keras: not a Keras model that can be loaded"):
            load_model_and_labels(tmp_path / f"{name}.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="expected a detector.*received a Sequential"):
        load_model_and_labels(tmp_path / "other.keras")
