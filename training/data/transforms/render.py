"""From an encoded image to the network's input: the pixels' side of a placement."""

import tensorflow as tf

from harmonic_tf.training.data.transforms.geometry import JPEG_RATIOS, Placement, place

# Grey for what lies outside the image: about the mean of natural images.
FILL = 127.0
# Plain bilinear resizing misses few pixels down to this scale, and takes a quarter of the time of
# antialiased resizing. (JPEG images have been shrunk by the decoder before.)
ANTIALIAS_BELOW = 1 / 3.5


def fit_image(encoded, image_size: tuple[int, int], resize: str):
    """A whole encoded image as the network sees it, in evaluation and wherever a model is used.

    Works in a `tf.function` and in an exported signature. A box in the network's input goes back
    to the image by `original = (network - offset) / scale`.

    Args:
        encoded: string scalar. JPEG, PNG, BMP or GIF (its first frame).
        image_size: (int, int). Height and width of the network's input.
        resize: str. "stretch" or "letterbox".

    Returns:
        tuple `(image, scale, offset, size)`: float32 `(*image_size, 3)`, 0..255; float32 `(2,)`
        twice, in the order (y, x); int32 `(2,)`, the image's height and width.

    Example:
        >>> encoded = tf.io.encode_png(tf.zeros((100, 200, 3), tf.uint8))
        >>> image, scale, offset, size = fit_image(encoded, (100, 100), "letterbox")
        >>> scale.numpy().tolist(), offset.numpy().tolist(), size.numpy().tolist()
        ([0.5, 0.5], [25.0, 0.0], [100, 200])
    """
    is_jpeg = tf.io.is_jpeg(encoded)
    size = tf.cond(
        is_jpeg,
        lambda: tf.io.extract_jpeg_shape(encoded)[:2],
        lambda: tf.shape(_decode(encoded))[:2],
    )
    window = tf.cast(tf.concat([[0, 0], size], axis=0), tf.float32)
    placement = place(window, size, is_jpeg, image_size, resize)
    image = render(encoded, placement, image_size)
    return image, placement.scale, placement.offset, size


def render(encoded, placement: Placement, image_size: tuple[int, int]) -> tf.Tensor:
    """Decodes an image and brings a part of it to the network's size.

    Args:
        encoded: string scalar.
        placement: Placement without batch dimensions.
        image_size: (int, int). Height and width of the network's input.

    Returns:
        float32 `(*image_size, 3)`, 0..255; grey around the image.
    """
    shown = _decode_part(encoded, placement)
    top, left, bottom, right = tf.unstack(placement.target)
    size = (bottom - top, right - left)
    shown = tf.cond(
        tf.reduce_min(size / tf.shape(shown)[:2]) < ANTIALIAS_BELOW,
        lambda: tf.image.resize(shown, size, antialias=True),
        lambda: tf.image.resize(shown, size),
    )
    padding = [[top, image_size[0] - bottom], [left, image_size[1] - right], [0, 0]]
    return tf.ensure_shape(tf.pad(shown, padding, constant_values=FILL), (*image_size, 3))


def _decode_part(encoded, placement: Placement):
    """A placement's source, decoded; of a JPEG, only that part is."""
    y1, x1, y2, x2 = tf.unstack(placement.source)
    window = tf.stack([y1, x1, y2 - y1, x2 - x1])

    def decode_jpeg(ratio):
        return tf.io.decode_and_crop_jpeg(encoded, window, channels=3, ratio=ratio)

    return tf.switch_case(
        tf.where(tf.io.is_jpeg(encoded), 1 + placement.level, 0),
        [lambda: _decode(encoded)[y1:y2, x1:x2]]
        + [lambda r=r: decode_jpeg(r) for r in (1, *JPEG_RATIOS)],
    )


def _decode(encoded):
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)
