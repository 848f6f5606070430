"""What the equations leave to be chosen, checked once."""

import dataclasses
import numbers

_NOT_NEGATIVE = (
    "alpha",
    "margin",
    "constant_factor",
    "factor_offset",
    "focal_alpha",
    "focal_gamma",
)
_SWITCHES = ("harmonic", "contrastive", "factor_gradient", "normalize_factors")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of the objective. See `HarmonicDetLoss` for the meaning of each."""

    classification: str = "softmax"
    alpha: float = 1.5
    gamma: float = 0.8
    margin: float = 0.2
    iou_loss: str | None = "hiou"
    harmonic: bool = True
    constant_factor: float = 1.0
    contrastive: bool = True
    factor_gradient: bool = True
    factor_offset: float = 1.0
    normalize_factors: bool = False
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    box_loss: str = "smooth_l1"
    box_variance: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    # How scores and boxes are written, which a layout knows.
    from_logits: bool = True
    background: str = "last"
    box_coding: str = "center_size"

    def __post_init__(self):
        _require_one_of("classification", self.classification, ("softmax", "focal"))
        _require_one_of("box_loss", self.box_loss, ("smooth_l1", "giou", "log_iou"))
        _require_one_of("iou_loss", self.iou_loss, ("hiou", "iou", None))
        _require_one_of("background", self.background, ("last", "first"))
        _require_one_of("box_coding", self.box_coding, ("center_size", "corners"))
        for name in _SWITCHES:
            _require_one_of(name, getattr(self, name), (True, False))
        require_numbers(**{name: getattr(self, name) for name in ("gamma", *_NOT_NEGATIVE)})
        if not 0 <= self.gamma <= 1:
            raise ValueError(
                "`gamma` must be between 0 and 1, or the harmonic IoU loss is not monotonic. "
                f"Received: gamma={self.gamma}"
            )
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"`{name}` must be finite and not negative. Received: {value}")
        variance = tuple(float(v) for v in self.box_variance)
        if len(variance) != 4 or not all(0 < v < float("inf") for v in variance):
            raise ValueError(
                f"`box_variance` must be 4 positive numbers. Received: {self.box_variance}"
            )
        object.__setattr__(self, "box_variance", variance)


def require_numbers(**settings):
    """Raises `ValueError` if one is no number: text, None or a truth value."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"`{name}` must be a number. Received: {value!r}")


def _require_one_of(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {value!r}")
