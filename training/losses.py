"""The losses that a recipe can name, with their settings: `NAME` or `NAME:key=value,key=value`."""

import difflib
import inspect

from harmonic_tf.training.errors import UserError

#: Name -> class of harmonic_tf.losses, and its arguments beyond those that the detector asks for.
#: A new loss is one line here.
LOSSES = {
    "standard": ("DetectionLoss", {}),
    "standard_x2": ("DetectionLoss", {"constant_factor": 2.0}),
    "constant_factors": ("HarmonicDetLoss", {"harmonic": False, "constant_factor": 2.0}),
    "harmonic": ("HarmonicLoss", {}),
    "harmonic_det": ("HarmonicDetLoss", {}),
    "harmonic_norm": (
        "HarmonicDetLoss",
        {"factor_offset": 0.1, "normalize_factors": True, "factor_gradient": False},
    ),
}

# What is the detector's, and yet differs between losses: which score is coupled.
_OF_DETECTOR = {"couple_centerness": False}

# Setting -> the other one that decides whether it has an effect, and with which of its values.
_ACTS_WITH = {
    "factor_gradient": ("harmonic", (True,)),
    "factor_offset": ("harmonic", (True,)),
    "normalize_factors": ("harmonic", (True,)),
    "constant_factor": ("harmonic", (False,)),
    "alpha": ("iou_loss", ("hiou", "iou")),
    "gamma": ("iou_loss", ("hiou",)),
    "margin": ("contrastive", (True,)),
}

_WORDS = {"true": True, "false": False, "none": None}
# What the detector and the loop decide, not the user.
_GIVEN = ("classification", "box_variance", "layout", "reduction", "name", "dtype")


def parse_loss(text):
    """Takes a loss of a recipe apart, without a look at whether the class has such settings.

    Args:
        text: str. `NAME` or `NAME:key=value,key=value`; a value is a number, true, false, none or
            a word.

    Returns:
        Tuple of the name, a key of `LOSSES`, and a dict of its settings.

    Raises:
        UserError: If there is no such loss, or the settings are not of that form.

    Example:

    >>> parse_loss("harmonic_det:alpha=2.0, iou_loss=none")
    ('harmonic_det', {'alpha': 2, 'iou_loss': None})
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name not in LOSSES:
        raise UserError(f"loss: expected one of {', '.join(LOSSES)}; received {name!r}")
    settings = {}
    for item in rest.split(",") if colon else ():
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value) or key in settings:
            raise UserError(f"loss: expected {name}:key=value,..., each once; received {text!r}")
        settings[key] = _read(value)
    return name, settings


def normal_form(text) -> str:
    """A loss as recipes keep it: the same text for the same loss, however it was typed.

    Example:

    >>> normal_form("harmonic_det: iou_loss=None, alpha=.50")
    'harmonic_det:alpha=0.5,iou_loss=none'
    """
    name, settings = parse_loss(text)
    items = ",".join(f"{key}={_written(value)}" for key, value in sorted(settings.items()))
    return f"{name}:{items}" if items else name


def file_name(loss) -> str:
    """A loss, in its normal form, as a part of a file's name.

    Example:

    >>> file_name("harmonic_det:alpha=0.5,iou_loss=none")
    'harmonic_det-alpha=0.5-iou_loss=none'
    """
    return loss.replace(":", "-").replace(",", "-")


def split_losses(text) -> list:
    """The losses of a list with commas, in their normal form.

    What stands between two commas and is `key=value` alone is one more setting of the loss before.

    Raises:
        UserError: If one is no loss, or stands there twice.

    Example:

    >>> split_losses("standard, harmonic_det:alpha=2,margin=0.1, harmonic")
    ['standard', 'harmonic_det:alpha=2,margin=0.1', 'harmonic']
    """
    losses = []
    for item in text.split(","):
        if losses and "=" in item and ":" not in item:
            losses[-1] += f",{item}"
        else:
            losses.append(item)
    losses = [normal_form(loss) for loss in losses]
    if len(set(losses)) != len(losses):
        raise UserError(f"losses: expected each once; received {text!r}")
    return losses


def settings_of(name) -> dict:
    """What can be set of a loss: name of setting -> its value where the user leaves it.

    Args:
        name: str. A key of `LOSSES`.

    Example:

    >>> settings_of("standard_x2")["constant_factor"]
    2.0
    """
    cls, own = _class_and_arguments(name)
    parameters = inspect.signature(cls).parameters.items()
    defaults = {key: value.default for key, value in parameters if key not in _GIVEN}
    return {**defaults, **own, **_OF_DETECTOR}


def require_distinct(losses):
    """Sees that no two losses are one under two names.

    Args:
        losses: list of str, each in its normal form.

    Raises:
        UserError: If two are of one class, with the same settings; names both.

    Example:

    >>> require_distinct(["standard_x2", "standard:constant_factor=3"])
    """
    seen = []
    for text in losses:
        name, own = parse_loss(text)
        settings = {**settings_of(name), **own}
        settings = {k: v for k, v in settings.items() if not _idle_with(k, settings)}
        meaning = LOSSES[name][0], settings
        for other, known in seen:
            if known == meaning:
                raise UserError(f"losses: {other} and {text} are the same loss")
        seen.append((text, meaning))


def detector_settings(text, detector) -> dict:
    """What a loss says of the detector that it is to train: those arguments of its class.

    Args:
        text: str. As for `parse_loss`.
        detector: class of `harmonic_tf.models`.

    Raises:
        UserError: If detectors of this class have no such setting.

    Example:

    >>> from harmonic_tf.models import FCOS
    >>> detector_settings("harmonic_det:alpha=1,couple_centerness=true", FCOS)
    {'couple_centerness': True}
    """
    settings = {k: v for k, v in parse_loss(text)[1].items() if k in _OF_DETECTOR}
    known = inspect.signature(detector).parameters.keys()
    if missing := settings.keys() - known:
        raise UserError(f"loss: {', '.join(missing)}: {detector.__name__} has no such setting")
    return {**{k: v for k, v in _OF_DETECTOR.items() if k in known}, **settings}


def check_loss(text):
    """Sees that the class of a loss takes its settings; Keras is imported only if it has any.

    Raises:
        UserError: If it has no such setting, or not with that value, or the setting has no effect
            beside the others; names both.
    """
    name, settings = parse_loss(text)
    if not settings:
        return
    known = settings_of(name)
    for key, value in settings.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise UserError(f"loss: {name} has no setting {key!r}; {hint}")
        expected = _kind(known[key])
        if expected not in (None, _kind(value)):
            raise UserError(f"loss: {key}: expected {expected}; received {_written(value)}")
    for key in settings:
        if other := _idle_with(key, {**known, **settings}):
            value = _written({**known, **settings}[other])
            raise UserError(f"loss: {text}: {key} has no effect with {other}={value}")
    try:
        build_loss(text, {})
    except (TypeError, ValueError) as error:
        raise UserError(f"loss: {text}: {error}") from error


def build_loss(text, loss_settings: dict):
    """The loss of a recipe, in the form that a detector asks for.

    Args:
        text: str. As for `parse_loss`.
        loss_settings: dict. The detector's own `loss_settings`.

    Returns:
        keras.losses.Loss on the contract of harmonic_tf.
    """
    name, settings = parse_loss(text)
    cls, own = _class_and_arguments(name)
    settings = {key: value for key, value in settings.items() if key not in _OF_DETECTOR}
    return cls(**{**loss_settings, **own, **settings})


def _class_and_arguments(name):
    import harmonic_tf.losses

    class_name, own = LOSSES[name]
    return getattr(harmonic_tf.losses, class_name), own


def _idle_with(key, settings):
    """The setting beside which another, `key`, has no effect; None if it has one."""
    other, values = _ACTS_WITH.get(key, (None, ()))
    return other if other in settings and settings[other] not in values else None


def _read(text):
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _written(value):
    words = {str(word): text for text, word in _WORDS.items()}
    return words.get(str(value), str(value))


def _kind(value):
    """What a user would call a value's type; None where any may be."""
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else None
