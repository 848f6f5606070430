"""From an encoded image to the network's input: the pixels' side of a placement."""

import tensorflow as tf

from harmonic_tf.training.data.transforms.geometry import JPEG_RATIOS, Placement, place
from harmonic_tf.training.data.transforms.orientation import (
    PNG_SIGNATURE,
    orientation_of,
    stored_window,
    swaps_sides,
    turn,
)

# Grey for what lies outside the image: about the mean of natural images.
FILL = 127.0
# Plain bilinear resizing misses few pixels down to this scale, and takes a quarter of the time of
# antialiased resizing. (JPEG images have been shrunk by the decoder before.)
ANTIALIAS_BELOW = 1 / 3.5


def fit_image(encoded, image_size: tuple[int, int], resize: str, orientation=None):
    """A whole encoded image as the network sees it, in evaluation and wherever a model is used.

    Works in a `tf.function` and in an exported signature. A box in the network's input goes back
    to the image by `original = (network - offset) / scale`. The image is the upright one, and over
    white where it is transparent.

    Args:
        encoded: string scalar. JPEG, PNG, BMP of 24 bits or of 8 with a palette, or GIF (its first
            frame).
        image_size: (int, int). Height and width of the network's input.
        resize: str. "stretch" or "letterbox".
        orientation: int32 scalar or None. EXIF's, 1 to 8. None: it is read from the image.

    Returns:
        tuple `(image, scale, offset, size)`: float32 `(*image_size, 3)`, 0..255; float32 `(2,)`
        twice, in the order (y, x); int32 `(2,)`, the upright image's height and width.

    Example:
        >>> encoded = tf.io.encode_png(tf.zeros((100, 200, 3), tf.uint8))
        >>> image, scale, offset, size = fit_image(encoded, (100, 100), "letterbox")
        >>> scale.numpy().tolist(), offset.numpy().tolist(), size.numpy().tolist()
        ([0.5, 0.5], [25.0, 0.0], [100, 200])
    """
    orientation = orientation_of(encoded) if orientation is None else orientation
    pixels = _decode_unless_jpeg(encoded)
    size = _stored_size(encoded, pixels)
    size = tf.where(swaps_sides(orientation), size[::-1], size)
    window = tf.cast(tf.concat([[0, 0], size], axis=0), tf.float32)
    placement = place(window, size, tf.io.is_jpeg(encoded), image_size, resize)
    image = _render(encoded, pixels, placement, image_size, orientation)
    return image, placement.scale, placement.offset, size


def render(encoded, placement: Placement, image_size: tuple[int, int], orientation=1) -> tf.Tensor:
    """Decodes an image and brings a part of it to the network's size.

    Args:
        encoded: string scalar.
        placement: Placement without batch dimensions, of the upright image.
        image_size: (int, int). Height and width of the network's input.
        orientation: int32 scalar. EXIF's, 1 to 8. Defaults to `1`: upright.

    Returns:
        float32 `(*image_size, 3)`, 0..255; grey around the image.
    """
    pixels = _decode_unless_jpeg(encoded)
    return _render(encoded, pixels, placement, image_size, orientation)


def _render(encoded, pixels, placement: Placement, image_size, orientation):
    upright = isinstance(orientation, int) and orientation == 1
    if not upright:
        source = _stored_source(encoded, pixels, placement, orientation)
        placement = placement._replace(source=source)
    shown = _decode_part(encoded, pixels, placement)
    if not upright:
        shown = tf.cond(tf.equal(orientation, 1), lambda: shown, lambda: turn(shown, orientation))
    top, left, bottom, right = tf.unstack(placement.target)
    size = (bottom - top, right - left)
    shown = tf.cond(
        tf.reduce_min(size / tf.shape(shown)[:2]) < ANTIALIAS_BELOW,
        lambda: tf.image.resize(shown, size, antialias=True),
        lambda: tf.image.resize(shown, size),
    )
    padding = [[top, image_size[0] - bottom], [left, image_size[1] - right], [0, 0]]
    return tf.ensure_shape(tf.pad(shown, padding, constant_values=FILL), (*image_size, 3))


def _decode_part(encoded, pixels, placement: Placement):
    """A placement's source, decoded; of a JPEG, only that part is."""
    y1, x1, y2, x2 = tf.unstack(placement.source)
    window = tf.stack([y1, x1, y2 - y1, x2 - x1])

    def decode_jpeg(ratio):
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=3, ratio=ratio)

    return tf.switch_case(
        tf.where(tf.io.is_jpeg(encoded), 1 + placement.level, 0),
        [lambda: pixels[y1:y2, x1:x2]] + [lambda r=r: decode_jpeg(r) for r in (1, *JPEG_RATIOS)],
    )


def _stored_source(encoded, pixels, placement: Placement, orientation):
    """A placement's source in an upright image, among the pixels as they are stored."""

    def among_stored():
        level = tf.where(tf.io.is_jpeg(encoded), placement.level, 0)
        ratio = tf.bitwise.left_shift(1, level)
        # The decoder rounds up.
        size = (_stored_size(encoded, pixels) + ratio - 1) // ratio
        return stored_window(placement.source, size, orientation)

    return tf.cond(tf.equal(orientation, 1), lambda: placement.source, among_stored)


def _stored_size(encoded, pixels):
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.extract_jpeg_shape(encoded)[:2],
        lambda: tf.shape(pixels)[:2],
    )


def _decode_unless_jpeg(encoded):
    """All of an image, as it is stored; nothing of a JPEG, of which only a part may be needed."""
    nothing = tf.zeros((0, 0, 3), tf.uint8)
    return tf.cond(tf.io.is_jpeg(encoded), lambda: nothing, lambda: _decode(encoded))


def _decode(encoded):
    start = tf.strings.substr(encoded, 0, 8)
    return tf.case(
        [
            (start == PNG_SIGNATURE, lambda: _decode_png(encoded)),
            (tf.strings.substr(start, 0, 2) == b"BM", lambda: _decode_bmp(encoded)),
        ],
        default=lambda: _decode_gif(encoded, start),
    )


def _decode_gif(encoded, start):
    """The first frame. What newer TensorFlows decode besides is refused: it may be turned."""
    is_gif = tf.strings.substr(start, 0, 4) == b"GIF8"
    with tf.control_dependencies([tf.Assert(is_gif, ["expected JPEG, PNG, BMP or GIF"])]):
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _decode_png(encoded):
    """A PNG over white. TensorFlow gives one without opacity the largest value of its bit depth."""
    bits = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 24, 1), tf.uint8)[0], tf.int32)
    opaque = tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1
    image = tf.io.decode_png(encoded, channels=4)
    is_opaque = tf.reduce_all(tf.cast(image[..., 3], tf.int32) == opaque)
    return tf.cond(is_opaque, lambda: image[..., :3], lambda: _over_white(image))


def _over_white(image):
    """Colours `(H, W, 4)` with their opacity, laid over white."""
    colours, opacity = tf.cast(image[..., :3], tf.int32), tf.cast(image[..., 3:], tf.int32)
    return tf.cast((colours * opacity + 255 * (255 - opacity) + 127) // 255, tf.uint8)


def _decode_bmp(encoded):
    """A BMP of 24 bits a pixel, or of 8 with a palette; TensorFlow ignores palettes."""
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, 34), tf.uint8), tf.int32)

    def number(start, size=4):
        return tf.reduce_sum(header[start : start + size] * [1, 1 << 8, 1 << 16, 1 << 24][:size])

    pixels, bits = number(10), number(28, 2)
    palette_start = 14 + number(14)

    def with_palette():
        indices = tf.io.decode_bmp(encoded, channels=0)[..., 0]
        palette = tf.strings.substr(encoded, palette_start, pixels - palette_start)
        palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), [-1, 4])
        return tf.gather(palette[:, 2::-1], tf.cast(indices, tf.int32))

    known = ((bits == 24) | (bits == 8)) & (number(30) == 0)
    message = "BMP is decoded here if it has 24 bits a pixel, or 8, and is not compressed: bits"
    with tf.control_dependencies([tf.Assert(known, [message, bits])]):
        return tf.cond(bits == 8, with_palette, lambda: tf.io.decode_bmp(encoded, channels=3))
