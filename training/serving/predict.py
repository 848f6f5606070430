"""Detection on image files: images with boxes, and results in COCO's form."""

import glob
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from harmonic_tf.training.data import fit_image
from harmonic_tf.training.data.display import Display
from harmonic_tf.training.data.images import SUFFIXES, as_bmp, decode, read_header
from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.evaluation.detections import check_detector, coco_results, detect
from harmonic_tf.training.evaluation.masks import paste
from harmonic_tf.training.files import read_bytes, write_json
from harmonic_tf.training.progress import progress_bar
from harmonic_tf.training.visualization.drawing import DISPLAY_THRESHOLD, draw_boxes

PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True)
class Predictions:
    """What `predict_images` found and wrote.

    Attributes:
        results: list of dict. COCO results with `file_name` beside `image_id`: every detection.
        images: tuple of Path. The images written, one for each file that could be read.
        problems: tuple of str. One line for each file that could not, with the reason.
    """

    results: list
    images: tuple[Path, ...]
    problems: tuple[str, ...]


def find_images(paths) -> list:
    """Expands folders and glob patterns to image files.

    Args:
        paths: iterable of str or Path. Files, folders (their JPEG, PNG, BMP, GIF, WebP and TIFF
            files) or patterns such as `cells/*.png`.

    Returns:
        List of Path without repetitions; folders and patterns in order of name.

    Raises:
        FileNotFoundError: If a path is not there, or a folder or pattern holds no image.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise FileNotFoundError(f"{path}: no such file, or no image there")
        found += matches
    return list(dict.fromkeys(found))


def predict_images(
    model,
    paths,
    labels,
    output,
    score_threshold=DISPLAY_THRESHOLD,
    batch_size=8,
    progress=True,
) -> Predictions:
    """Detects objects in image files, of the same kinds and seen the same way as in training.

    Writes `<output>/images/<name>.jpg` with the boxes (and masks, if the model finds them) of at
    least `score_threshold`, and `<output>/predictions.json` with every detection above the model's
    own, lower threshold, in COCO's result form.

    Args:
        model: detector of harmonic_tf.models.
        paths: iterable of str or Path. Files, folders or patterns, as for `find_images`.
        labels: Labels. What the model's classes mean.
        output: str or Path. Folder to write to.
        score_threshold: float. What is drawn. Defaults to `0.4`.
        batch_size: int. Images a step. Defaults to `8`.
        progress: bool. Show a progress bar when the output is a terminal. Defaults to `True`.

    Returns:
        Predictions.

    Raises:
        FileNotFoundError: If a path leads to no image.
        ValueError: If no file could be read, or the model takes images of any size.

    Example:

    ```python
    model, labels = load_model_and_labels("runs/bccd")
    predictions = predict_images(model, ["cells/*.jpg"], labels, "found")
    ```
    """
    check_detector(model)
    files = find_images(paths)
    names = image_names(files)
    folder = Path(output) / "images"
    folder.mkdir(parents=True, exist_ok=True)
    step = _detection_step(model)
    results, drawn, problems, read = [], [], [], 0
    with progress_bar(progress) as bar:
        task = bar.add_task("predict", total=len(files))
        for start in range(0, len(files), batch_size):
            chosen = range(start, min(start + batch_size, len(files)))
            inputs, unreadable = _read(files, chosen, model)
            problems += unreadable
            found = _detect(step, inputs.values()) if inputs else {}
            for row, index in enumerate(inputs):
                one = {key: value[row] for key, value in found.items()}
                try:
                    canvas = _draw(files[index], one, labels, score_threshold)
                    canvas.save(folder / names[index], quality=92)
                    drawn.append(folder / names[index])
                except Exception as error:  # What was found is not lost with the drawing.
                    problems.append(f"{files[index]}: cannot be drawn: {error}")
            sizes = [size.numpy() for *_, size in inputs.values()]
            for result in coco_results(found, list(inputs), labels.category_ids, sizes):
                results.append({**result, "file_name": str(files[result["image_id"]])})
            read += len(inputs)
            bar.advance(task, len(chosen))
    if not read:
        raise ValueError("none of the images could be read:\n" + "\n".join(problems))
    write_json(Path(output) / PREDICTIONS_FILE, results, indent=None)
    return Predictions(results, tuple(drawn), tuple(problems))


def image_names(files) -> list:
    """One name ending in `.jpg` for each file; a name that comes again gets a number.

    Example:

    >>> image_names([Path("a/cell.jpg"), Path("b/cell.png")])
    ['cell.jpg', 'cell-2.jpg']
    """
    names = {}
    for file in files:
        name, count = f"{file.stem}.jpg", 1
        while name in names:
            count += 1
            name = f"{file.stem}-{count}.jpg"
        names[name] = file
    return list(names)


def _read(files, chosen, model):
    """Network inputs by their index, and a line for each image that could not be read."""
    inputs, unreadable = {}, []
    for index in chosen:
        try:
            encoded = read_bytes(files[index])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Of Pillow's warnings, all that matters is named.
                header = read_header(encoded)
            orientation = 1 if header.with_pillow else header.orientation
            encoded = as_bmp(encoded) if header.with_pillow else encoded
            inputs[index] = fit_image(encoded, model.image_size, model.resize, orientation)
        except tf.errors.OpError as error:
            unreadable.append(f"{files[index]}: {error.message.splitlines()[0]}")
        except (Unusable, OSError) as error:
            unreadable.append(f"{files[index]}: {error}")
    return inputs, unreadable


def _detection_step(model):
    def spec(*shape, dtype=tf.float32):
        return tf.TensorSpec((None, *shape), dtype)

    signature = [spec(*model.image_size, 3), spec(2), spec(2), spec(2, dtype=tf.int32)]
    return tf.function(
        lambda *inputs: detect(model, *inputs), input_signature=signature, autograph=False
    )


def _detect(step, inputs):
    found = step(*(tf.stack(column) for column in zip(*inputs, strict=True)))
    return {key: value.numpy() for key, value in found.items()}


def _draw(file, found, labels, score_threshold):
    image = decode(file.read_bytes())
    display = Display(image.height, image.width)
    shown = np.flatnonzero(found["scores"] >= score_threshold)
    boxes, classes, scores = (found[key][shown] for key in ("boxes", "classes", "scores"))
    masks = None
    if "masks" in found:
        size = (image.height, image.width)
        pasted = [paste(found["masks"][i], found["boxes"][i], size) for i in shown]
        masks = [display.mask(mask) for mask in pasted]
    boxes = display.boxes(boxes)
    return draw_boxes(display.image(image), boxes, classes, labels.class_names, scores, masks=masks)
