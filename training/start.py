"""A run that starts from a trained detector, with other classes or the same."""

import json
import zipfile
from pathlib import Path

from harmonic_tf.models.pretrained import pretrained_folder
from harmonic_tf.training.errors import UserError
from harmonic_tf.training.labels import load_model_and_labels, model_file
from harmonic_tf.training.losses import detector_settings


def start_file(start: str) -> Path:
    """The file that `--start` stands for, given a run's folder or the file itself.

    Raises:
        UserError: If there is no such file.
    """
    try:
        return model_file(Path(start).expanduser()).absolute()
    except OSError as error:
        raise UserError(f"start: {error}") from error


def start_name(start: str) -> str:
    """What a recipe calls a trained detector in any folder: its file's path, but of one that comes
    with the package its name, for packages lie elsewhere in other environments.

    Raises:
        UserError: If there is no such file.

    Example:
        >>> start_name("voc")
        'voc'
    """
    file = start_file(start)
    return start if pretrained_folder(start) == file.parent else str(file)


def start_preset(start: str) -> str:
    """The preset that a trained detector was made by, or is closest to.

    That of the run's recipe, if it is one of the file's class; or else the first of its class
    that stands on its backbone. The model itself is not loaded.

    Args:
        start: str. As for `start_file`.

    Raises:
        UserError: If the file is no detector of ours.
    """
    from harmonic_tf.models import DETECTORS, detector_class
    from harmonic_tf.training.recipe import read_recipe
    from harmonic_tf.training.record import RECIPE_FILE

    file = start_file(start)
    try:
        with zipfile.ZipFile(file) as archive:
            content = json.loads(archive.read("config.json"))
        name, backbone = content["class_name"], content["config"]["backbone"]["config"]
        presets = DETECTORS[name][1].split()
    except zipfile.BadZipFile:
        raise UserError(f"{file}: damaged or cut short, or no .keras file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{file}: expected a detector of harmonic_tf.models to start from; harmonic-tf import "
            "makes one of a state dict of torchvision's"
        ) from None
    recipe = file.parent / RECIPE_FILE
    if recipe.is_file() and (model := read_recipe(recipe).model) in presets:
        return model
    architecture, made_by = str(backbone.get("architecture")), detector_class(name).presets
    # "vgg16_torchvision" is a "vgg16", too.
    same = [key for key in presets if architecture.startswith(made_by[key].backbone)]
    return (same or presets)[0]


def start_model(recipe, class_names):
    """The recipe's detector, with the weights of the one that it starts from.

    Args:
        recipe: Recipe. Resolved.
        class_names: sequence of str. The classes to detect.

    Returns:
        Tuple of the detector and a line that says what it has of the other.

    Raises:
        ValueError: If the start cannot be loaded, or its backbone not be frozen as the recipe says.
    """
    from harmonic_tf.models.backbones import freeze
    from harmonic_tf.models.transfer import with_classes

    file = start_file(recipe.start)
    trained, labels = load_model_and_labels(file)
    names = labels.class_names if labels else ()
    sources = [names.index(name) if name in names else None for name in class_names]
    model = with_classes(
        trained,
        sources,
        bounding_box_format="xyxy",
        dtype=recipe.precision,
        backbone=_thawed(trained.get_config()["backbone"], recipe.freeze_batch_norm),
        **detector_settings(recipe.loss, type(trained)),
    )
    if recipe.freeze_backbone != "none":
        freeze(model.backbone, recipe.freeze_backbone)
    return model, _line(file, class_names, sources, labels)


def _thawed(backbone, freeze_batch_norm):
    """The config of a backbone with all levels to be trained."""
    config = dict(backbone["config"])
    if "frozen_level" in config:
        config["frozen_level"] = None
    if freeze_batch_norm is not None:
        config["freeze_batch_norm"] = freeze_batch_norm
    return {**backbone, "config": config}


def _line(file, class_names, sources, labels):
    known = [name for name, source in zip(class_names, sources, strict=True) if source is not None]
    new = [name for name in class_names if name not in known]
    heads = f"heads kept for {_listed(known)}" if known else "no head kept"
    if not labels:
        heads += ", since no labels.json beside it names its classes"
    elif gone := [name for name in labels.class_names if name not in known]:
        heads += f", left behind for {_listed(gone)}"
    return f"starts from {file}: {heads}; new for {_listed(new)}"


def _listed(names, most=5):
    if not names:
        return "none"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"
