"""Random variation of training images: every draw is a function of the seed alone.

What happens to a batch is drawn at once, as numbers: crops and zooms as one window an image,
colour changes as one linear map. Pixels are then touched hardly more often than without.
"""

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from harmonic_tf.boxes import iou

CROP_TRIALS = 40
CROP_SCALES = (0.3, 1.0)
CROP_ASPECTS = (0.5, 2.0)
# 0 is "overlaps anything"; a limit that no IoU reaches is "no crop".
CROP_MIN_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 2.0)
# Rec. 601: RGB to brightness and two colour axes.
YIQ = (
    (0.299, 0.587, 0.114),
    (0.59590059, -0.27455667, -0.32134392),
    (0.21153661, -0.52273617, 0.31119955),
)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training images are varied. The default changes nothing.

    The network's input has one size, as compiled graphs want it; training at several scales is
    therefore a `window` onto the image that is smaller or larger than it, brought to that size.

    Attributes:
        flip: float. Probability of a left-right flip.
        window: (float, float). The sides of the randomly placed window that is shown, as fractions
            of the image's: below 1 objects grow, above 1 they shrink on a grey canvas.
        expand: float. SSD's zoom-out: half the images are laid on a grey canvas of 1 to `expand`
            times their sides.
        min_iou_crop: bool. SSD's sampler: crops of 0.3 to 1 times the sides and aspect ratio 0.5
            to 2 that overlap some object by an IoU of at least 0.1, 0.3, 0.5, 0.7 or 0.9; or by
            anything; or no crop.
        brightness: float. Largest shift, as a fraction of white. The colours of half of the
            images are changed.
        contrast: float. Largest relative change.
        saturation: float. Largest relative change.
        hue: float. Largest turn, in degrees.
        mosaic: float. Probability that an image becomes a mosaic of itself and three others of its
            batch; see `mosaic.add_mosaics`. For detectors of boxes only.

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
    mosaic: float = 0.0

    def __post_init__(self):
        for name in ("flip", "mosaic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability, received {getattr(self, name)}.")
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
        """Images as they are."""
        return cls()

    @classmethod
    def light(cls) -> "Augmentation":
        """For small models and short training: flip, crop or zoom, brightness."""
        return cls(flip=0.5, window=(0.7, 1.15), brightness=0.1)

    @classmethod
    def light_mosaic(cls) -> "Augmentation":
        """As `light`, and half the images become mosaics."""
        return dataclasses.replace(cls.light(), mosaic=0.5)

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


def sample_windows(sizes, boxes, classes, augmentation: Augmentation, seed) -> tf.Tensor:
    """Draws the part of each image that is shown.

    Args:
        sizes: int32 `(B, 2)`. Heights and widths.
        boxes: float32 `(B, M, 4)`, xyxy pixels of the images.
        classes: float32 `(B, M)`, -1 for padding.
        augmentation: Augmentation.
        seed: int32 `(2,)`.

    Returns:
        float32 `(B, 4)`. (y1, x1, y2, x2) in pixels of the image; may reach beyond it.
    """
    expand_seed, crop_seed, window_seed = tf.unstack(tf.random.split(seed, 3))
    count = tf.shape(sizes)[0]
    windows = tf.cast(tf.concat([tf.zeros_like(sizes), sizes], axis=-1), tf.float32)
    if augmentation.expand > 1:
        draws = tf.random.stateless_uniform([count, 4], expand_seed)
        factor = 1 + (augmentation.expand - 1) * draws[:, :1]
        windows = _scaled(windows, tf.where(draws[:, 1:2] < 0.5, factor, 1.0), draws[:, 2:])
    if augmentation.min_iou_crop:
        windows = _min_iou_crops(windows, boxes, classes, crop_seed)
    if augmentation.window != (1.0, 1.0):
        low, high = augmentation.window
        draws = tf.random.stateless_uniform([count, 3], window_seed)
        windows = _scaled(windows, low + (high - low) * draws[:, :1], draws[:, 1:])
    return windows


def _scaled(windows, factors, positions):
    """Windows `factors` times as large: inside the old ones if smaller, around them if larger."""
    size = windows[..., 2:] - windows[..., :2]
    start = windows[..., :2] + (1 - factors) * size * positions
    return tf.concat([start, start + factors * size], axis=-1)


def _min_iou_crops(windows, boxes, classes, seed):
    """SSD's crops: the first of some random ones that shows an object and overlaps it enough.

    "Enough" is drawn for each image; where no trial is good enough, the window stays.
    """
    limit_seed, share_seed, place_seed = tf.unstack(tf.random.split(seed, 3))
    trials = [tf.shape(windows)[0], CROP_TRIALS, 2]
    shares = tf.random.stateless_uniform(trials, share_seed, *CROP_SCALES)
    places = tf.random.stateless_uniform(trials, place_seed)
    crops = _scaled(windows[:, None], shares, places)
    limits = tf.random.stateless_uniform(
        trials[:1], limit_seed, maxval=len(CROP_MIN_IOUS), dtype=tf.int32
    )
    limits = tf.gather(tf.constant(CROP_MIN_IOUS), limits)[:, None, None]
    # From here (B, trials, objects, ...).
    objects = tf.gather(boxes, [1, 0, 3, 2], axis=-1)[:, None]
    areas = crops[:, :, None]
    centres = (objects[..., :2] + objects[..., 2:]) / 2
    shown = tf.reduce_all((centres >= areas[..., :2]) & (centres <= areas[..., 2:]), axis=-1)
    enough = shown & (classes >= 0)[:, None] & (iou(areas, objects) >= limits)
    aspects = shares[..., 1] / shares[..., 0]
    good = (
        (aspects >= CROP_ASPECTS[0]) & (aspects <= CROP_ASPECTS[1]) & tf.reduce_any(enough, axis=-1)
    )
    chosen = tf.gather(crops, tf.argmax(tf.cast(good, tf.int32), axis=-1), batch_dims=1)
    return tf.where(tf.reduce_any(good, axis=-1, keepdims=True), chosen, windows)


def sample_flips(count, augmentation: Augmentation, seed) -> tf.Tensor:
    """Draws which of `count` images are flipped: bool `(count,)`."""
    return tf.random.stateless_uniform([count], seed) < augmentation.flip


class ColourMap(NamedTuple):
    """A linear map of colours: colour @ matrix + shift.

    Attributes:
        active: bool `(...)`. Whether it is applied at all.
        matrix: float32 `(..., 3, 3)`.
        shift: float32 `(...)`, the same for red, green and blue.
    """

    active: tf.Tensor
    matrix: tf.Tensor
    shift: tf.Tensor


def sample_colour_maps(count, augmentation: Augmentation, seed) -> ColourMap:
    """Draws changes of brightness, contrast, saturation and hue, for half of the images.

    The four are one linear map of a pixel's colour: hue turns and saturation stretches the two
    colour axes of YIQ, contrast stretches all three, brightness shifts.

    Args:
        count: int. B.
        augmentation: Augmentation.
        seed: int32 `(2,)`.

    Returns:
        ColourMap of `count` maps.
    """
    a = augmentation
    draws = tf.random.stateless_uniform([count, 5], seed, -1.0, 1.0)
    active, brightness, contrast, saturation, hue = tf.unstack(draws, axis=-1)
    angle = math.radians(a.hue) * hue
    stretch = 1 + a.saturation * saturation
    cos, sin, one = stretch * tf.cos(angle), stretch * tf.sin(angle), tf.ones_like(angle)
    zero = tf.zeros_like(one)
    turn = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=-1)
    to_yiq = tf.constant(YIQ)
    matrix = tf.linalg.inv(to_yiq) @ tf.reshape(turn, [-1, 3, 3]) @ to_yiq
    matrix *= (1 + a.contrast * contrast)[:, None, None]
    return ColourMap(
        active=active > 0,
        matrix=tf.linalg.matrix_transpose(matrix),
        shift=255.0 * a.brightness * brightness,
    )


def map_colours(image, colour_map: ColourMap, augmentation: Augmentation) -> tf.Tensor:
    """Applies a colour map if it is active, but for the parts that the augmentation leaves out.

    Args:
        image: float32 `(H, W, 3)`, 0..255.
        colour_map: ColourMap without batch dimension.
        augmentation: Augmentation.

    Returns:
        float32 `(H, W, 3)`, 0..255.
    """
    mixes = bool(augmentation.contrast or augmentation.saturation or augmentation.hue)
    if not (mixes or augmentation.brightness):
        return image

    def mapped():
        mixed = tf.tensordot(image, colour_map.matrix, 1) if mixes else image
        return tf.clip_by_value(mixed + colour_map.shift, 0.0, 255.0)

    return tf.cond(colour_map.active, mapped, lambda: image)
