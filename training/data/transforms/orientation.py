"""EXIF orientation in TensorFlow: the tag of an encoded image, and turning its pixels.

An upright image is the stored one with its sides swapped (orientations 5 to 8), then flipped top to
bottom (3, 4, 7, 8), then flipped left to right (2, 3, 6, 7).
"""

import tensorflow as tf

SWAPPED = (5, 6, 7, 8)
TOP_TO_BOTTOM = (3, 4, 7, 8)
LEFT_TO_RIGHT = (2, 3, 6, 7)

ORIENTATION_TAG = 0x0112
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Segments or chunks before the pixels: there are a dozen in a photo.
MOST_SEGMENTS = 1000


def orientation_of(encoded) -> tf.Tensor:
    """The EXIF orientation of an encoded image, read in the graph.

    In a JPEG it stands in a segment APP1, in a PNG in a chunk eXIf before the pixels. What is not
    there, or broken, is 1: upright. The same as `images.exif_orientation`, in Python.

    Args:
        encoded: string scalar.

    Returns:
        int32 scalar, 1 to 8.

    Example:
        >>> int(orientation_of(tf.io.encode_jpeg(tf.zeros((8, 8, 3), tf.uint8))))
        1
    """
    is_png = tf.equal(_piece(encoded, 0, 8), PNG_SIGNATURE)
    start = tf.case(
        [
            (tf.io.is_jpeg(encoded), lambda: _exif_in_jpeg(encoded)),
            (is_png, lambda: _exif_in_png(encoded)),
        ],
        default=lambda: tf.constant(-1),
    )
    return tf.cond(start < 0, lambda: tf.constant(1), lambda: _tag(encoded, start))


def swaps_sides(orientation):
    """Whether height and width change places."""
    return _is_in(orientation, SWAPPED)


def turn(image, orientation):
    """Stored pixels `(H, W, C)` as they are meant to be seen."""
    image = tf.cond(swaps_sides(orientation), lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    for orientations, axis in ((TOP_TO_BOTTOM, 0), (LEFT_TO_RIGHT, 1)):
        image = tf.cond(
            _is_in(orientation, orientations),
            lambda image=image, axis=axis: tf.reverse(image, [axis]),
            lambda image=image: image,
        )
    return image


def stored_window(window, stored_size, orientation):
    """Where a part of the upright image lies among the stored pixels.

    Args:
        window: int32 `(4,)`. (y1, x1, y2, x2) in pixels of the upright image.
        stored_size: int32 `(2,)`. Height and width of the stored pixels.
        orientation: int32 scalar.

    Returns:
        int32 `(4,)`. (y1, x1, y2, x2).
    """
    swaps = swaps_sides(orientation)
    height, width = tf.unstack(tf.where(swaps, stored_size[::-1], stored_size))
    y1, x1, y2, x2 = tf.unstack(window)
    flips = _is_in(orientation, TOP_TO_BOTTOM)
    y1, y2 = tf.where(flips, height - y2, y1), tf.where(flips, height - y1, y2)
    flips = _is_in(orientation, LEFT_TO_RIGHT)
    x1, x2 = tf.where(flips, width - x2, x1), tf.where(flips, width - x1, x2)
    return tf.where(swaps, tf.stack([x1, y1, x2, y2]), tf.stack([y1, x1, y2, x2]))


def _is_in(orientation, orientations: tuple):
    return tf.reduce_any(orientation == tf.constant(orientations))


def _piece(encoded, start, length):
    """Some bytes of the image, fewer where it ends."""
    start = tf.minimum(start, tf.strings.length(encoded))
    return tf.strings.substr(encoded, start, length)


def _numbers(encoded, start, length: int):
    """Bytes as int32 `(length,)`, with zeros where the image ends."""
    found = tf.io.decode_raw(_piece(encoded, start, length), tf.uint8)
    padded = tf.pad(found, [[0, length - tf.size(found)]])
    return tf.cast(tf.ensure_shape(padded, [length]), tf.int32)


def _number(octets, big_endian=True):
    """The number that bytes `(..., n)` make; what does not fit int32 wraps around."""
    size = octets.shape[-1]
    places = tf.constant([8 * (size - 1 - i) for i in range(size)])
    ordered = tf.where(big_endian, octets, tf.reverse(octets, [-1]))
    return tf.reduce_sum(tf.bitwise.left_shift(ordered, places), axis=-1)


def _walk(encoded, first: int, is_last, is_exif, length_of):
    """Hops over segments; returns where the EXIF data start, or -1.

    Args:
        encoded: string scalar.
        first: int. Where the first segment starts.
        is_last: function of the 8 bytes that a segment starts with: whether to stop before it.
        is_exif: function of a segment's start: where its EXIF data start, or -1.
        length_of: function of those 8 bytes: from this segment to the next.
    """
    end = tf.strings.length(encoded)

    def goes_on(position, found):
        here = _numbers(encoded, position, 8)
        return (found < 0) & (position >= 0) & (position + 8 < end) & ~is_last(here)

    def hop(position, found):
        length = tf.maximum(length_of(_numbers(encoded, position, 8)), 1)
        return position + length, is_exif(position)

    _, found = tf.while_loop(
        goes_on, hop, (tf.constant(first), tf.constant(-1)), maximum_iterations=MOST_SEGMENTS
    )
    return found


def _exif_in_jpeg(encoded):
    def is_exif(position):
        mark = _piece(encoded, position, 2) + _piece(encoded, position + 4, 6)
        return tf.where(mark == b"\xff\xe1Exif\0\0", position + 10, -1)

    return _walk(
        encoded,
        first=2,
        is_last=lambda here: here[1] == 0xDA,
        is_exif=is_exif,
        # FF before a marker fills up.
        length_of=lambda here: tf.where(here[1] == 0xFF, 1, 2 + _number(here[2:4])),
    )


def _exif_in_png(encoded):
    def is_exif(position):
        return tf.where(_piece(encoded, position + 4, 4) == b"eXIf", position + 8, -1)

    return _walk(
        encoded,
        first=len(PNG_SIGNATURE),
        is_last=lambda here: tf.reduce_all(here[4:] == tf.constant(list(b"IDAT"))),
        is_exif=is_exif,
        length_of=lambda here: 12 + _number(here[:4]),
    )


def _tag(encoded, start):
    """The orientation in the TIFF directory at `start`."""
    order = _piece(encoded, start, 2)
    big_endian = order == b"MM"
    directory = start + _number(_numbers(encoded, start + 4, 4), big_endian)
    directory = tf.where(directory < start, tf.strings.length(encoded), directory)
    count = _number(_numbers(encoded, directory, 2), big_endian)
    octets = tf.io.decode_raw(_piece(encoded, directory + 2, 12 * count), tf.uint8)
    whole = tf.size(octets) // 12
    entries = tf.cast(tf.reshape(octets[: 12 * whole], [-1, 12]), tf.int32)
    short = _number(entries[:, 8:10], big_endian)
    is_short = _number(entries[:, 2:4], big_endian) == 3
    value = tf.where(is_short, short, _number(entries[:, 8:12], big_endian))
    own = _number(entries[:, :2], big_endian) == ORIENTATION_TAG
    # The first of them; 1 where there is none.
    value = tf.concat([tf.boolean_mask(value, own), [1]], axis=0)[0]
    known = (big_endian | (order == b"II")) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)
