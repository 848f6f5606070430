"""What determines a training run: its settings, their defaults, and their YAML form."""

import dataclasses
import difflib
import importlib.util
import math
import re
import reprlib
import runpy
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from tyro.conf import arg

from harmonic_tf.training.errors import UserError, as_user_error
from harmonic_tf.training.eval_splits import split_names
from harmonic_tf.training.files import decode_text, write_bytes
from harmonic_tf.training.losses import check_loss, detector_settings, file_name, normal_form

# The names alone: to import harmonic_tf.models takes seconds.
_REGISTRY = Path(importlib.util.find_spec("harmonic_tf.models").origin).with_name("registry.py")
PRESETS = tuple(runpy.run_path(str(_REGISTRY))["PRESETS"])
# Of a backbone that a preset says nothing of.
AS_THE_REST = {"freeze_backbone": "none", "backbone_rate": 1.0}
# What 32 bits hold, in which all is computed.
MOST = 3.4e38
# Of a wrong value so much is shown.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 2, 100, 100


def model_defaults(model: str) -> dict:
    """What a recipe takes for a preset where the user leaves a setting at None.

    What it takes instead where it starts from trained weights stands under "trained".

    Example:

    >>> model_defaults("dssd_tiny")["epochs"], model_defaults("dssd512_resnet50")["epochs"]
    (50, 120)
    """
    if model not in PRESETS:
        close = difflib.get_close_matches(model, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(PRESETS)}"
        raise UserError(f"model: there is no preset {model!r}; {hint}")
    from harmonic_tf import models

    return models.PRESETS[model].presets[model].training


@dataclass(frozen=True)
class Settings:
    """What all runs of a comparison share.

    A setting of None takes the model's own value (`model_defaults`).
    """

    model: Annotated[str, arg(help=f"Detector: {', '.join(PRESETS)}.")] = "ssd_tiny"
    data: str = "shapes"
    """Images to learn from: shapes, voc:DIR, coco:DIR, yolo:DIR, labelme:DIR, csv:FILE,
    tfrecord:GLOB, tfds:NAME, or a path alone, whose format is found out."""
    train_split: str | None = None
    """Split to train on. None: the source's own, such as trainval."""
    eval_split: str | None = None
    """Split to evaluate on. None: the source's own: valid, else val, else test. Of several with
    commas between, all but the first are evaluated on at the end alone."""
    val_fraction: float | None = None
    """Share to evaluate on where the data has no split for it, by the content of the images: more
    images move none. None: 0.2 of data without any splits."""
    val_seed: int = 0
    """Another one, other parts."""
    class_names: tuple[str, ...] | None = None
    """Classes to detect, in this order. None: all that the data has."""
    on_bad_data: Literal["skip", "error"] = "skip"
    """Bad ground truth: leave it out and report it, or stop at once with the whole list."""
    epochs: int | None = None
    """Passes over the training images. None: the model's own (tiny: 50, with masks 25)."""
    batch_size: int | None = None
    """Images a step, over all replicas. None: 16."""
    learning_rate: float | None = None
    """Highest learning rate, reached after the warm-up. None: the model's own (most
    tiny ones: 0.002)."""
    warmup: float = 0.05
    """Fraction of all steps in which the learning rate rises from 0; a cosine takes it back."""
    optimizer: Literal["adamw", "sgd"] | None = None
    """AdamW, or SGD with momentum 0.9. None: adamw for the tiny models, sgd for full size."""
    weight_decay: float | None = None
    """Decoupled decay of kernels (not of biases or normalisation), times the learning rate."""
    clip_norm: float = 10.0
    """Longest gradient, over all weights and replicas together; longer ones are scaled down."""
    augmentation: Literal["light", "light_mosaic", "ssd", "none"] | None = None
    """Random changes to training images: light (flip, zoom, brightness), light_mosaic (half of them
    then become mosaics of four), ssd, or none."""
    image_size: tuple[int, int] | None = None
    """Height and width of the network's input in pixels. None: the preset's."""
    resize: Literal["stretch", "letterbox"] | None = None
    """Bring images to that size by stretching, or with their aspect ratio kept, on a grey border.
    None: the model's own, stretch."""
    backbone: str | None = None
    """Backbone instead of the model's: tiny, efficientnet_lite0, mobilenet_v2, resnet50, ..., or
    keras_cv:PRESET or keras_hub:PRESET."""
    weights: str = "auto"
    """Where the backbone starts from: auto (as --start has it; without, ImageNet where its weights
    are installed or in Keras's cache, else random), none (random), imagenet, or a file: of the
    Keras application (VGG-16 with its top, ResNets without), or a PyTorch state dict for
    EfficientNet-Lite, ResNeXt and resnet50_torchvision."""
    start: str | None = None
    """Trained detector to start from: a run's folder, a .keras file of ours, or voc, which comes
    with the package. Its model, backbone and image size are taken, and its heads for the classes
    that labels.json beside it names alike; other classes start anew."""
    freeze_backbone: str | None = None
    """Up to where the backbone is not trained: none, stem (before the second halving), a pyramid
    level such as P3 or 3, or all. None: the model's own, none so far."""
    backbone_rate: float | None = None
    """Learning rate of what is trained of the backbone over that of the rest. None: the model's own
    where it starts from trained weights (lite: 0.1, ssd_lite: 0.033), else 1."""
    freeze_batch_norm: bool | None = None
    """Keep batch normalisation as it starts. None: only where it starts from trained weights, and
    as it was with --start."""
    cache: Literal["none", "memory", "disk"] | None = None
    """Keep training images decoded, at the network's size, in memory or on disk (the user's cache
    folder, for later runs and for all runs of a comparison). What augmentation draws is drawn on
    these in every epoch: a crop enlarges their pixels, and original ones are not read again.
    None: none, or disk with --cache-features."""
    cache_features: int | None = None
    """Keep the backbone's feature maps of so many fixed augmentations of each training image, as
    16-bit numbers, and train on these: the heads alone, at a fraction of an epoch's time. All of
    the backbone is frozen. The augmentations are the same for all seeds."""
    evaluate_every: int = 10
    """Epochs between evaluations. The last epoch is always evaluated."""
    strategy: Literal["none", "mirrored"] = "none"
    """Where to compute: one device, or all GPUs of this machine, each on a part of the batch."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Numbers inside the network. Losses, decoding and weights are float32 in either case."""


@dataclass(frozen=True)
class Recipe(Settings):
    """Everything that determines the result of a training run.

    Example:

    >>> Recipe(data="voc:bccd", epochs=20).model
    'ssd_tiny'
    """

    loss: str = "harmonic_det"
    """What to minimise: the paper's harmonic_det, harmonic_norm (its factors without gradient,
    divided by their mean), harmonic (no IoU loss), standard, or a control: standard_x2,
    constant_factors. Settings follow a colon: harmonic_det:alpha=1,margin=0.1"""
    seed: int = 1
    """Determines initial weights, order of the images and their augmentation."""

    def __post_init__(self):
        object.__setattr__(self, "loss", normal_form(self.loss))
        if match := re.fullmatch(r"[pP]?(\d+)", self.freeze_backbone or ""):
            object.__setattr__(self, "freeze_backbone", f"P{match[1]}")
        for field in ("epochs", "batch_size", "evaluate_every", "cache_features"):
            _require(self, field, lambda value: value >= 1, "at least 1")
            _require(self, field, lambda value: value < 2**31, "at most 2147483647")
        for field in ("learning_rate", "clip_norm", "backbone_rate"):
            _require(self, field, lambda value: value > 0, "greater than 0")
        _require(self, "weight_decay", lambda value: value >= 0, "at least 0")
        for field in ("learning_rate", "clip_norm", "weight_decay", "backbone_rate"):
            _require(self, field, math.isfinite, "a finite number")
            _require(self, field, lambda value: value <= MOST, f"at most {MOST}")
        split_names(self.eval_split)
        _require(self, "warmup", lambda value: 0 <= value < 1, "at least 0 and below 1")
        _require(self, "seed", lambda value: 0 <= value < 2**31, "from 0 to 2147483647")
        _require(self, "val_fraction", lambda value: 0 < value < 1, "greater than 0 and below 1")
        _require(self, "image_size", lambda value: min(value) >= 1, "two positive sizes")

    @property
    def subject(self) -> str:
        """What is trained on what, such as `bccd-ssd_tiny`; valid as a file's name."""
        source, _, rest = self.data.partition(":")
        place = Path((rest or source).partition(",images=")[0]).name
        data = {"shapes": source, "tfds": rest}.get(source) or place
        data = re.sub(r"[^\w.-]+", "_", data).strip("._") or source
        library, _, preset = (self.backbone or "").partition(":")
        backbone = (library, Path(preset).name)
        return "-".join(filter(None, (data, self.model, *backbone)))

    @property
    def variant(self) -> str:
        """What the runs of a comparison differ in, such as `harmonic_det-seed1`."""
        return f"{file_name(self.loss)}-seed{self.seed}"

    @property
    def name(self) -> str:
        """Name for this run's folder, such as `bccd-ssd_tiny-harmonic_det-seed1`."""
        return f"{self.subject}-{self.variant}"


def resolve(recipe: Recipe) -> Recipe:
    """Fills in the model's own values where the recipe says None.

    Args:
        recipe: Recipe.

    Returns:
        Recipe. None is left only where the data source or the model itself decides.

    Raises:
        UserError: If there is no such preset, the loss or the detector has no such settings, or
            features are to be kept nowhere or of random weights.

    Example:

    >>> resolve(Recipe(batch_size=8)).epochs, resolve(Recipe(batch_size=8)).batch_size
    (50, 8)
    """
    from harmonic_tf import models
    from harmonic_tf.training.data import absolute_spec

    check_loss(recipe.loss)
    if recipe.start is not None:
        recipe = _started(recipe)
    defaults = {**AS_THE_REST, **model_defaults(recipe.model), "cache": "none"}
    detector_settings(recipe.loss, models.PRESETS[recipe.model])
    from_trained = defaults.pop("trained", {})
    weights = _weights(recipe)
    is_random = weights == "none"
    if not is_random:
        defaults.update(from_trained)
    if recipe.cache_features:
        defaults.update(cache="disk", freeze_backbone="all")
    chosen = {key: value for key, value in defaults.items() if getattr(recipe, key) is None}
    with as_user_error():
        data = absolute_spec(recipe.data)  # to be found from any folder
    resolved = dataclasses.replace(
        recipe, **chosen, data=data, weights=weights, backbone=_backbone(recipe)
    )
    if recipe.cache_features:
        _require(resolved, "cache", lambda value: value != "none", "memory or disk for features")
        _require(resolved, "freeze_backbone", lambda value: value == "all", "all, under features")
        advice = f" ({line})" if (line := weights_line(recipe)) else ""
        _require(
            resolved,
            "weights",
            lambda value: not is_random,
            f"trained weights under features that stay as they are{advice}",
        )
        _require(
            resolved,
            "cache_features",
            lambda value: value == 1 or resolved.augmentation != "none",
            "1, for without augmentation all views of an image are the same",
        )
    if resolved.freeze_backbone == "all":
        is_frozen = "true where all of the backbone is frozen"
        _require(resolved, "freeze_batch_norm", lambda value: value, is_frozen)
    return resolved


def _weights(recipe):
    """What a resolved recipe says of the backbone's weights; a file by its place in any folder."""
    if recipe.weights in ("none", "imagenet") or recipe.start is not None:
        return recipe.weights
    if recipe.weights == "auto":
        with as_user_error():
            return _available(recipe)[0]
    path = Path(recipe.weights).expanduser().absolute()
    if not path.is_file() or path.suffix == ".keras":
        raise UserError(
            "weights: expected auto, none, imagenet, or a file of a backbone's weights, which "
            f"{recipe.weights!r} is not (a whole detector is for --start)"
        )
    return str(path)


def _backbone(recipe):
    """The name of the recipe's backbone; a preset's folder by its place in any folder."""
    library, _, preset = (recipe.backbone or "").partition(":")
    folder = Path(preset).expanduser()
    return f"{library}:{folder.absolute()}" if preset and folder.is_dir() else recipe.backbone


def _started(recipe):
    """The recipe with what the detector that it starts from decides."""
    from harmonic_tf.training.start import start_name, start_preset

    for field in ("backbone", "image_size", "resize"):
        if getattr(recipe, field) is not None:
            raise UserError(f"{field}: the detector that --start names has its own; leave it out")
    if recipe.weights != "auto":
        raise UserError(f"weights: those of --start are taken; received {recipe.weights!r}, too")
    model, start = start_preset(recipe.start), start_name(recipe.start)
    if recipe.model not in (Settings.model, model):
        raise UserError(f"model: that of --start is {model}; received {recipe.model!r}")
    return dataclasses.replace(recipe, model=model, start=start)


def weights_line(recipe: Recipe) -> str:
    """Which weights `auto` finds for the recipe's backbone on this machine, or what to install.

    Empty where the recipe names its weights, or a detector to start from.
    """
    return _available(recipe)[1] if recipe.weights == "auto" and not recipe.start else ""


def _available(recipe):
    from harmonic_tf.models import PRESETS as DETECTORS
    from harmonic_tf.models.backbones import available_weights

    preset = DETECTORS[recipe.model].presets[recipe.model]
    return available_weights(recipe.backbone or preset.backbone)


def read_recipe(path) -> Recipe:
    """Reads a recipe from YAML; what the file leaves out keeps its default.

    Args:
        path: str or Path. A file as `write_recipe` writes it.

    Returns:
        Recipe.

    Raises:
        UserError: If the file is missing, is no YAML mapping, or has an unknown key, one twice, an
            alias, or a value of the wrong type; names the file and the key.
    """
    try:
        content = yaml.load(decode_text(Path(path).read_bytes()), _Loader)  # also of a pipe
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # PyYAML's own, and what its dates and numbers raise
        raise UserError(f"{path}: not YAML: {error}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: expected lines of `setting: value`; received {_described(content)}"
        )
    hints = typing.get_type_hints(Recipe)
    values = {}
    for key, value in content.items():
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"settings are {', '.join(hints)}"
            raise UserError(f"{path}: unknown setting {_BRIEF.repr(key)}; {hint}")
        try:
            values[key] = _converted(value, hints[key])
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"{path}: {key}: expected {_expectation(hints[key])}; received {_described(value)}"
            ) from None
    try:
        return Recipe(**values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def write_recipe(recipe: Recipe, path) -> Path:
    """Writes all settings of a recipe as YAML, atomically.

    Args:
        recipe: Recipe.
        path: str or Path. The file to write.

    Returns:
        Path. The file written.
    """
    content = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(recipe).items()
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return write_bytes(path, text.encode("utf-8"))


class _Loader(yaml.SafeLoader):
    """YAML with each key once, and without aliases: a few lines of them grow without bound."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            line = event.start_mark.line + 1
            raise UserError(f"line {line}: aliases such as *{event.anchor} are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    raise UserError(f"line {key.start_mark.line + 1}: {key.value} comes twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _require(recipe, field, is_good, expected):
    value = getattr(recipe, field)
    if value is not None and not is_good(value):
        raise UserError(f"{field}: expected {expected}; received {_BRIEF.repr(value)}")


def _converted(value, hint):
    """`value` as the type `hint`, or a TypeError or ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _converted(value, hint)
    if origin is Literal:
        # YAML 1.1 reads a bare `none` as text but `no` and `off` as False.
        if value not in arguments or isinstance(value, bool):
            raise ValueError
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_converted(v, item) for v, item in zip(value, items, strict=True))
    if hint is float and not isinstance(value, bool):
        # YAML 1.1 reads 2e-3 as text: it wants 2.0e-3.
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TypeError
    return value


def _expectation(hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_expectation(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"a list of {count}{arguments[0].__name__}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, "null")


def _described(value):
    return f"{_BRIEF.repr(value)} ({type(value).__name__})"
