"""Export of a trained detector for serving with TensorFlow alone."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from harmonic_tf.training.data import fit_image
from harmonic_tf.training.evaluation.detections import check_detector, detect
from harmonic_tf.training.files import write_json
from harmonic_tf.training.labels import write_labels

_ASIDE = ".writing-"
#: Seconds after which what a writer left aside is that of a killed one.
ABANDONED = 24 * 3600
# What `fit_image` decodes with TensorFlow alone; training and predict read more.
IMAGE_KINDS = ("JPEG", "PNG", "BMP (24 bits, or 8 with a palette)", "GIF (first frame)")


def serving_function(model):
    """The function that an export serves.

    Args:
        model: detector of harmonic_tf.models.

    Returns:
        tf.function. From `images`, a string tensor (B,) of files of `IMAGE_KINDS` of any sizes,
        which are turned upright by their EXIF orientation and laid over white, to a dict of
        `boxes` (B, D, 4) float32 xyxy in pixels of each upright image, `scores` (B, D) float32
        (`predict` has them as `confidence`), `classes` (B, D) int32 class index and
        `num_detections` (B,) int32. Rows from `num_detections` on hold -1. A model that finds masks
        adds `masks` (B, D, S, S) float32: probabilities, each in the frame of its box. `pixels`, a
        bool array, is one in an image of `width` x `height`:

        ```python
        x1, y1, x2, y2 = box
        across, down = mask.shape[1] / (x2 - x1), mask.shape[0] / (y2 - y1)
        to_mask = (across, 0, 1 - across * x1, 0, down, 1 - down * y1)
        padded = PIL.Image.fromarray(np.pad(mask, 1))
        shown = padded.transform((width, height), PIL.Image.AFFINE, to_mask, PIL.Image.BILINEAR)
        pixels = np.asarray(shown) >= 0.5
        ```
    """

    shapes = ((*model.image_size, 3), (2,), (2,), (2,))
    types = (tf.float32, tf.float32, tf.float32, tf.int32)
    fitted = tuple(map(tf.TensorSpec, shapes, types))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")], autograph=False)
    def serve(images):
        def fit(encoded):
            return fit_image(encoded, model.image_size, model.resize)

        count = tf.size(images)
        inputs = tf.map_fn(fit, images, fn_output_signature=fitted)
        # TensorFlow has operations that fail without an image, or end the process: one of ones.
        missing = tf.cast(tf.equal(count, 0), tf.int32)
        inputs = [tf.concat([x, tf.ones((missing, *x.shape[1:]), x.dtype)], 0) for x in inputs]
        return {key: value[:count] for key, value in detect(model, *inputs).items()}

    return serve


def next_version(folder) -> int:
    """One above the largest version in `folder`, 1 if there is none."""
    folder = Path(folder)
    names = [child.name for child in folder.iterdir()] if folder.is_dir() else []
    return 1 + max((int(name) for name in names if name.isdecimal()), default=0)


def export_model(
    model, labels, directory="saved_models", name="detector", version=None, recipe=None
):
    """Writes a SavedModel that any TensorFlow program or TensorFlow Serving can load.

    Its signature `serving_default` takes `images`, a string tensor (B,) of encoded images, and
    returns what `serving_function` describes. The folder appears whole or not at all: TensorFlow
    Serving polls `<directory>/<name>` for numbered folders.

    Args:
        model: detector of harmonic_tf.models.
        labels: Labels. What its classes mean; written beside the model as `labels.json`, with the
            kinds of images that it takes.
        directory: str or Path. Where exports are kept. Defaults to `"saved_models"`.
        name: str. The model's name, one folder. Defaults to `"detector"`.
        version: int or None. Defaults to `None`, one above the largest there.
        recipe: Path or None. A run's `recipe.yaml` to keep beside the model. Defaults to `None`.

    Returns:
        Path. `<directory>/<name>/<version>`.

    Raises:
        FileExistsError: If that version is there already.
        ValueError: If `name` is no plain folder name, `version` is below 1, the labels do not fit
            the model, or the model takes images of any size.

    Example:

    ```python
    model, labels = load_model_and_labels("runs/shapes")
    folder = export_model(model, labels, name="shapes")
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = serve(images=tf.stack([tf.io.read_file("cells.jpg")]))
    ```
    """
    check_detector(model)
    if not name or Path(name).name != name or name.startswith("."):
        raise ValueError(f"expected the name of a folder; received {name!r}")
    if version is not None and version < 1:
        raise ValueError(f"expected a version of at least 1; received {version}")
    if len(labels.class_names) != model.num_classes:
        raise ValueError(
            f"the model has {model.num_classes} classes; labels name {list(labels.class_names)}"
        )
    folder = Path(directory) / name
    target = folder / str(next_version(folder) if version is None else version)
    if target.exists():
        raise FileExistsError(f"{target}: this version is there already")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_ASIDE}*"):
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=folder))
    try:
        servable = tf.Module(name="harmonic_tf")
        servable.weights = [weight.value for weight in model.variables]
        servable.labels = tf.saved_model.Asset(str(_write_labels(aside, labels)))
        servable.serve = serving_function(model)
        tf.saved_model.save(servable, str(aside), signatures={"serving_default": servable.serve})
        if recipe is not None:
            shutil.copy(recipe, aside / Path(recipe).name)
        aside.chmod(0o755)
        os.rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def _write_labels(folder, labels):
    file = write_labels(folder, labels)
    content = json.loads(file.read_text(encoding="utf-8"))
    return write_json(file, {**content, "images": IMAGE_KINDS})
