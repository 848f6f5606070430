"""What training does to its pictures; no TensorFlow here, so that recipes load fast."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training pictures are varied. The default changes nothing.

    The network's input has one size, as compiled graphs want it; training at several scales is
    therefore a `window` onto the picture that is smaller or larger than it, brought to that size.

    Attributes:
        flip: float. Probability of a left-right flip.
        window: (float, float). The sides of the randomly placed window that is shown, as fractions
            of the picture's: below 1 objects grow, above 1 they shrink on a grey canvas.
        expand: float. SSD's zoom-out: half the pictures are laid on a grey canvas of 1 to `expand`
            times their sides.
        min_iou_crop: bool. SSD's sampler: crops of 0.3 to 1 times the sides and aspect ratio 0.5
            to 2 that overlap some object by an IoU of at least 0.1, 0.3, 0.5, 0.7 or 0.9; or by
            anything; or no crop.
        brightness: float. Largest shift, as a fraction of white. The colours of half of the
            pictures are changed.
        contrast: float. Largest relative change.
        saturation: float. Largest relative change.
        hue: float. Largest turn, in degrees.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> Augmentation(flip=0.5) == Augmentation.none()
        False
    """

    flip: float = 0.0
    window: tuple[float, float] = (1.0, 1.0)
    expand: float = 1.0
    min_iou_crop: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must be a probability, received {self.flip}.")
        if len(self.window) != 2 or not 0 < self.window[0] <= self.window[1]:
            raise ValueError(f"window must be (low, high) with 0 < low <= high: {self.window}.")
        if self.expand < 1:
            raise ValueError(f"expand must be at least 1, received {self.expand}.")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, received {getattr(self, name)}.")
        if not 0 <= self.hue <= 180:
            raise ValueError(f"hue must be in 0..180 degrees, received {self.hue}.")

    @classmethod
    def none(cls) -> "Augmentation":
        """Pictures as they are."""
        return cls()

    @classmethod
    def light(cls) -> "Augmentation":
        """For small models and short training: flip, crop or zoom, brightness."""
        return cls(flip=0.5, window=(0.7, 1.15), brightness=0.1)

    @classmethod
    def ssd(cls) -> "Augmentation":
        """As SSD is trained: flip, colours, zoom-out, minimum-IoU crop."""
        return cls(
            flip=0.5,
            expand=4.0,
            min_iou_crop=True,
            brightness=0.125,
            contrast=0.5,
            saturation=0.5,
            hue=18.0,
        )
