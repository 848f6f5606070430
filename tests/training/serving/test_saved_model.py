import io
import json
import os
import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from detectors import LITE
from PIL import Image
from rectangles import (
    CATEGORY_IDS,
    CLASS_NAMES,
    EVEN,
    IMAGES,
    LeftHalfFinder,
    RectangleFinder,
    draw,
    png,
)

from harmonic_tf import models
from harmonic_tf.masks import resample
from harmonic_tf.training.data import fit_image
from harmonic_tf.training.evaluation.detections import detect
from harmonic_tf.training.evaluation.masks import paste
from harmonic_tf.training.labels import Labels
from harmonic_tf.training.serving import saved_model as export
from harmonic_tf.training.serving.saved_model import export_model, next_version

LABELS = Labels(CLASS_NAMES, CATEGORY_IDS)
ENCODED = [png(draw(*p)) for p in IMAGES]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved_models")
    recipe = directory / "recipe.yaml"
    recipe.write_text("model: rectangles\n")
    return export_model(RectangleFinder(), LABELS, directory, name="rectangles", recipe=recipe)


def signature(folder):
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def test_signature_finds_boxes_in_original_pixels(exported):
    found = signature(exported)(images=tf.constant(ENCODED))
    assert found["num_detections"].numpy().tolist() == [1, 2, 0, 2, 1]
    assert found["boxes"][1].numpy().tolist() == [[4, 4, 20, 30], [21, 5, 48, 32], [-1] * 4]
    assert found["classes"].numpy()[3].tolist() == [0, 1, -1]
    assert found["scores"].numpy()[3] == pytest.approx([0.9, 0.8, -1])
    types = {key: value.dtype.name for key, value in found.items()}
    assert types == {
        "boxes": "float32",
        "scores": "float32",
        "classes": "int32",
        "num_detections": "int32",
    }


@pytest.fixture(scope="module")
def exported_with_masks(tmp_path_factory):
    return export_model(LeftHalfFinder(), LABELS, tmp_path_factory.mktemp("saved_models"))


def test_masks_are_served_as_the_model_finds_them(exported_with_masks):
    found = signature(exported_with_masks)(images=tf.constant(ENCODED))
    masks = found["masks"]
    assert masks.dtype == tf.float32 and masks.shape == (5, 3, 28, 28)
    model = LeftHalfFinder()
    fitted = [fit_image(encoded, model.image_size, model.resize) for encoded in ENCODED]
    expected = detect(model, *(tf.stack(column) for column in zip(*fitted, strict=True)))
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6)
    np.testing.assert_allclose(masks[1, 0, :, :14], 1, atol=1e-4)
    np.testing.assert_allclose(masks[1, 0, :, 14:], 0, atol=1e-4)
    assert (masks[1, 2].numpy() == -1).all() and (masks[2].numpy() == -1).all()
    assert signature(exported_with_masks)(images=tf.constant([], tf.string))["masks"].shape[0] == 0


def test_the_documented_lines_paste_a_served_mask(exported_with_masks):
    lines = export.serving_function.__doc__.split("```")[1].removeprefix("python")
    height, width, boxes = EVEN[1]
    found = signature(exported_with_masks)(images=tf.constant([png(draw(*EVEN[1]))]))
    for index in range(len(boxes)):
        mask, box = found["masks"][0, index].numpy(), found["boxes"][0, index].numpy()
        names = {"np": np, "PIL": PIL, "mask": mask, "box": box, "width": width, "height": height}
        exec(textwrap.dedent(lines), names)
        np.testing.assert_array_equal(names["pixels"], paste(mask, box, (height, width)))
        x1, y1, x2, y2 = boxes[index + 1]
        assert names["pixels"].sum() == (y2 - y1) * (x2 - x1) // 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_batch_size(exported, count):
    found = signature(exported)(images=tf.constant(ENCODED[:count], tf.string))
    assert found["boxes"].shape == (count, 3, 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_are_turned_upright(exported, kind):
    upright = Image.fromarray(draw(32, 48, {1: (4, 4, 20, 30)}))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(content, kind, exif=exif)
    found = signature(exported)(images=tf.constant([content.getvalue()]))
    assert found["num_detections"].numpy().tolist() == [1]
    np.testing.assert_allclose(found["boxes"][0, 0], [4, 4, 20, 30], atol=1)


def test_palettes_are_decoded_and_other_kinds_refused(exported):
    image = Image.fromarray(draw(32, 48, {1: (4, 4, 20, 30)}))
    files = {}
    for name, mode, kind in (
        ("palette", "P", "BMP"),
        ("bits", "1", "BMP"),
        ("webp", "RGB", "WEBP"),
    ):
        files[name] = io.BytesIO()
        image.convert(mode).save(files[name], kind)
    found = signature(exported)(images=tf.constant([files["palette"].getvalue()]))
    np.testing.assert_array_equal(found["boxes"][0, 0], [4, 4, 20, 30])
    for name, message in (
        ("bits", "BMP is decoded here if"),
        ("webp", "expected JPEG, PNG, BMP or GIF"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            signature(exported)(images=tf.constant([files[name].getvalue()]))


def test_jpeg_bmp_gif_grey_and_transparent_images(exported, tmp_path):
    image = Image.fromarray(draw(32, 48, {1: (4, 4, 20, 30)}))
    for name in ("a.jpg", "a.bmp", "a.gif"):
        image.save(tmp_path / name)
    image.convert("RGBA").save(tmp_path / "rgba.png")
    image.convert("L").save(tmp_path / "grey.png")
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    counts = signature(exported)(images=tf.constant(files))["num_detections"]
    assert dict(zip(sorted(p.name for p in tmp_path.iterdir()), counts.numpy(), strict=True)) == {
        "a.bmp": 1,
        "a.gif": 1,
        "a.jpg": 1,
        "grey.png": 3,
        "rgba.png": 1,
    }


# A program with TensorFlow alone: for each line, the export, images and the file to write.
SERVER = """
import json, sys
import numpy as np
import tensorflow as tf
for line in sys.stdin:
    folder, files, target = json.loads(line)
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    found = serve(images=tf.stack([tf.io.read_file(file) for file in files]))
    np.savez(target, **{key: value.numpy() for key, value in found.items()})
    none = serve(images=tf.constant([], tf.string))
    assert {key: value.shape for key, value in none.items()} == {
        key: (0, *value.shape[1:]) for key, value in found.items()
    }
    assert not [m for m in sys.modules if m.split(".")[0] in ("harmonic_tf", "keras_cv")]
    print("served", flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A function of what a line of `SERVER` says, which returns what was found."""
    elsewhere = tmp_path_factory.mktemp("server")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=elsewhere,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def serve(folder, files):
            target = elsewhere / "found.npz"
            line = [str(folder), [str(file) for file in files], str(target)]
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "served\n"
            return np.load(target)

        yield serve
        process.kill()


@pytest.mark.parametrize(
    "preset", [*sorted(x for x in models.PRESETS if x.endswith("_tiny")), *LITE]
)
def test_gives_what_predict_gives_where_only_tensorflow_is_imported(preset, server, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.from_preset(preset, num_classes=3, score_threshold=0.0)
    model.run_eagerly = True
    folder = export_model(model, LABELS, tmp_path, name=preset)
    rng = np.random.default_rng(0)
    sizes = [(120, 200), (300, 170), (64, 64)]
    files = []
    for index, (height, width) in enumerate(sizes):
        files.append(tmp_path / f"{index}.jpg")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(files[-1])
    served = server(folder, files)
    fitted = [fit_image(file.read_bytes(), model.image_size, model.resize) for file in files]
    inputs, scale, offset, _ = (np.stack(column) for column in zip(*fitted, strict=True))
    predicted = model.predict(inputs, verbose=0)
    assert (predicted["num_detections"] > 0).all()
    for index, (height, width) in enumerate(sizes):
        count = predicted["num_detections"][index]
        assert served["num_detections"][index] == count
        boxes = predicted["boxes"][index, :count] - np.tile(offset[index, ::-1], 2)
        whole = boxes / np.tile(scale[index, ::-1], 2)
        boxes = np.clip(whole, 0, [width, height, width, height])
        np.testing.assert_allclose(served["boxes"][index, :count], boxes, rtol=1e-5, atol=1e-4)
        for ours, theirs in (("scores", "confidence"), ("classes", "classes")):
            np.testing.assert_allclose(
                served[ours][index, :count], predicted[theirs][index, :count], atol=1e-5
            )
        if model.has_masks:
            assert (served["masks"][index, count:] == -1).all()
            masks = resample(predicted["masks"][index, :count], whole, boxes, 28)
            np.testing.assert_allclose(served["masks"][index, :count], masks, atol=1e-3)


def test_labels_and_recipe_lie_beside_the_model(exported):
    assert exported.name == "1" and exported.parent.name == "rectangles"
    expected = {"class_names": list(CLASS_NAMES), "category_ids": list(CATEGORY_IDS)}
    expected["images"] = list(export.IMAGE_KINDS)
    assert json.loads((exported / "labels.json").read_text()) == expected
    assert json.loads((exported / "assets" / "labels.json").read_text()) == expected
    assert (exported / "recipe.yaml").read_text() == "model: rectangles\n"
    loaded = tf.saved_model.load(str(exported))
    assert json.loads(tf.io.read_file(loaded.labels.asset_path).numpy()) == expected


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    folder = tmp_path / "m"
    assert next_version(folder) == 1
    for child in ("3", "12", "notes", ".writing-x"):
        (folder / child).mkdir(parents=True)
    assert next_version(folder) == 13
    with pytest.raises(FileExistsError, match="already"):
        export_model(RectangleFinder(), LABELS, tmp_path, name="m", version=3)
    assert export_model(RectangleFinder(), LABELS, tmp_path, name="m") == folder / "13"


def test_what_a_killed_writer_left_is_removed_a_day_later(tmp_path):
    old, young = (tmp_path / "m" / f".writing-{age}" for age in ("old", "young"))
    for left in (old, young):
        (left / "variables").mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    export_model(RectangleFinder(), LABELS, tmp_path, name="m")
    assert sorted(child.name for child in (tmp_path / "m").iterdir()) == [".writing-young", "1"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    seen = []

    def fail(servable, target, signatures):
        seen.extend(child.name for child in (tmp_path / "m").iterdir())
        raise OSError("disk full")

    monkeypatch.setattr(export.tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_model(RectangleFinder(), LABELS, tmp_path, name="m")
    assert len(seen) == 1 and not seen[0].isdecimal()
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_names_that_are_no_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name of a folder"):
        export_model(RectangleFinder(), LABELS, tmp_path, name=name)


def test_labels_and_version_are_checked(tmp_path):
    with pytest.raises(ValueError, match="has 3 classes; labels name .*'class 1'"):
        export_model(RectangleFinder(), Labels.numbered(2), tmp_path)
    with pytest.raises(ValueError, match="version of at least 1; received 0"):
        export_model(RectangleFinder(), LABELS, tmp_path, version=0)
    assert list(tmp_path.iterdir()) == []
