"""An image's file: what it is, whether all of it is there, and how a viewer shows it.

TensorFlow decodes JPEG, which it is told how to turn, and upright PNG and 24-bit BMP as a viewer
shows them. All else (turned PNG, BMP with a palette, GIF, WebP, TIFF, ...) is decoded by Pillow and
handed on as a BMP in memory. The rules are in docs/data.md.
"""

import contextlib
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from harmonic_tf.training.data.jpeg import COMMON_FRAMES, EXIF, has_end, jpeg_segments, plain_jpeg
from harmonic_tf.training.data.pixels import PixelBudget
from harmonic_tf.training.data.problems import Unusable

# Pillow opens an MPO, which many phones write, as the JPEG that it begins with.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".jfif", ".mpo")
KINDS = "JPEG, PNG, BMP, GIF, WebP or TIFF"
# Pillow's own limit, 89 million: three times as many bytes, and some multiple while resizing.
MAX_PIXELS = Image.MAX_IMAGE_PIXELS
# One image of the largest size, or several smaller ones, while all threads decode.
AT_ONCE = PixelBudget(MAX_PIXELS)
GREY = (127, 127, 127)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG = 0x0112
# What EXIF's orientation asks for, after the sides have been swapped for 5 to 8.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What was found out about an encoded image; height and width are of the upright image.

    Attributes:
        height: int, pixels.
        width: int, pixels.
        is_jpeg: bool. TensorFlow decodes it, at the size that is needed.
        orientation: int, 1 to 8. EXIF's: how the stored pixels are to be turned.
        with_pillow: bool. TensorFlow does not decode it as a viewer shows it.
        digest: str. Hash of the file's bytes.
    """

    height: int
    width: int
    is_jpeg: bool
    orientation: int = 1
    with_pillow: bool = False
    digest: str = ""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Height and width of the pixels before they are turned."""
        turned = self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(encoded: Path | bytes) -> Header:
    """Decodes an image once, to be sure that it can be, and tells what it is.

    A JPEG is decoded by TensorFlow, at an eighth of its size, which reads all of its data too; what
    TensorFlow refuses, and all other images, by Pillow. A JPEG must have its end; of a PNG, which
    Pillow takes with wrong checksums, these are checked, and TensorFlow must decode it as well, or
    it is left to Pillow.

    Args:
        encoded: file, or its bytes.

    Returns:
        Header.

    Raises:
        Unusable: no such file, not an image of a kind that is read, broken, or too large.
    """
    file = encoded if isinstance(encoded, Path) else None
    if file is not None and not os.path.isfile(file):
        raise Unusable("missing image file", file)
    try:
        return _checked(encoded if file is None else file.read_bytes())
    except Unusable as error:
        raise Unusable(str(error), file) from None
    except Exception as error:  # Pillow raises whatever the broken bytes lead it to.
        raise Unusable(f"unreadable image file: {error}", file) from None


def decode(encoded: bytes) -> Image.Image:
    """An image as a viewer shows it: upright, in its colours, over white where it is transparent.

    Args:
        encoded: bytes. A file of one of `FORMATS`; of several frames the first.

    Returns:
        PIL.Image.Image, RGB.

    Raises:
        Unusable: not such a file, or too large.
        Exception: what Pillow raises where the file is broken.
    """
    with _opened(encoded) as image:
        return _upright(image)


def as_bmp(encoded: bytes) -> bytes:
    """An image, as a viewer shows it, in a form that every decoder reads the same way."""
    with _opened(encoded) as image:
        return to_bmp(_upright(image))


def blank(height: int, width: int) -> bytes:
    """A grey image, in the place of one that cannot be read any more."""
    return to_bmp(Image.new("RGB", (width, height), GREY))


def to_bmp(image: Image.Image) -> bytes:
    """An RGB image as a BMP file of `bmp_size` bytes."""
    content = io.BytesIO()
    image.save(content, "BMP")
    return content.getvalue()


def bmp_size(height: int, width: int) -> int:
    """Bytes of a BMP of 24 bits a pixel, whose rows are filled up to multiples of 4.

    Example:
        >>> bmp_size(2, 3), len(blank(2, 3))
        (78, 78)
    """
    return 54 + height * ((3 * width + 3) // 4 * 4)


def exif_orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF data, 1 to 8; 1 where it has none or is broken.

    Read by hand as in the graph, for Pillow gives up on directories that are cut behind the tag.

    Args:
        exif: bytes. A TIFF directory, with or without the "Exif" that stands before it in a JPEG.

    Example:
        >>> directory = "4949 2a00 08000000 0100 1201 0300 01000000 06000000"
        >>> exif_orientation(bytes.fromhex(directory))
        6
    """
    tiff = exif.removeprefix(EXIF)
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], order)

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        if entry + 12 > len(tiff):
            break
        if number(entry, 2) == ORIENTATION_TAG:
            value = number(entry + 8, 2 if number(entry + 2, 2) == 3 else 4)
            return value if value in TURNS else 1
    return 1


@contextlib.contextmanager
def _opened(encoded: bytes) -> Iterator[Image.Image]:
    """The image with its header read and its size found bearable, when there is room for it."""
    if not encoded:
        raise Unusable("unreadable image file: it is empty")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError:
        raise Unusable(f"unreadable image file: not {KINDS}; convert it to one of them") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(f"image too large: more than {MAX_PIXELS} pixels") from None
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height} px"
        raise Unusable(f"image too large: {size}, more than {MAX_PIXELS} pixels")
    with image, AT_ONCE.taking(image.width * image.height):
        yield image


def digest_of(content: bytes) -> str:
    """Hash of a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _checked(content: bytes) -> Header:
    digest = digest_of(content)
    if header := _plain_jpeg(content, digest):
        return header
    with _opened(content) as image:
        if image.format in ("JPEG", "MPO"):
            return _checked_jpeg(image, content, digest)
        if image.format == "PNG":
            _check_chunks(content)
        orientation = _orientation(image)
        image.load()
        # One pixel tells whether such colours can be shown; copies of all would take gigabytes.
        _over_white(_eight_bits(image.crop((0, 0, 1, 1))))
        width, height = image.size
        if orientation >= 5 and image.format != "TIFF":
            height, width = width, height
        is_plain = orientation == 1 and (image.format == "PNG" or _is_plain_bmp(content))
        image.close()
        is_plain = is_plain and _tensorflow_decodes(content, False)
    return Header(height, width, False, orientation, not is_plain, digest)


def _plain_jpeg(content: bytes, digest: str) -> Header | None:
    """The header of a plain JPEG that TensorFlow decodes, which is most of all images; else None.

    Pillow, which tells what is wrong with the others, would take as long as all the rest.
    """
    found = plain_jpeg(content)
    if found is None or not 0 < found.height * found.width <= MAX_PIXELS:
        return None
    with AT_ONCE.taking(found.height * found.width):
        if not _tensorflow_decodes(content, True):
            return None
    return _jpeg_header(found.height, found.width, exif_orientation(found.exif), True, digest)


def _checked_jpeg(image: Image.Image, content: bytes, digest: str) -> Header:
    scan, frame = jpeg_segments(content)
    if not has_end(content, scan):
        raise Unusable("truncated image file")
    kind, bits = (content[frame + place : frame + place + 1] for place in (1, 4))
    common = ord(kind) in COMMON_FRAMES and bits == b"\x08" and _tensorflow_decodes(content, True)
    orientation = _orientation(image)
    width, height = image.size  # of which a draft is a part
    if not common:
        image.draft("L", (1, 1))
        image.load()
    return _jpeg_header(height, width, orientation, common, digest)


def _jpeg_header(height: int, width: int, orientation: int, common: bool, digest: str) -> Header:
    if orientation >= 5:
        height, width = width, height
    return Header(height, width, common, orientation, not common, digest)


def _check_chunks(content: bytes):
    """Raises `Unusable` if a PNG lacks its end or a chunk that matters has a wrong checksum."""
    position, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(content):
            raise Unusable("truncated image file")
        kind = content[position + 4 : position + 8]
        checksum = int.from_bytes(content[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(content[position + 4 : end]) != checksum:
            raise Unusable(f"unreadable image file: wrong checksum of PNG chunk {kind.decode()}")
        position = end + 4


def _is_plain_bmp(content: bytes) -> bool:
    """Whether this is a BMP of 24 bits a pixel, not compressed, with a header of today's form."""
    fields = content[14:18], content[28:30], content[30:34]
    size, bits, compression = (int.from_bytes(field, "little") for field in fields)
    return content[:2] == b"BM" and size >= 40 and (bits, compression) == (24, 0)


def _tensorflow_decodes(content: bytes, is_jpeg: bool) -> bool:
    """Whether TensorFlow takes it, too; a JPEG at an eighth of its size."""
    import tensorflow as tf

    try:
        if is_jpeg:
            tf.io.decode_jpeg(content, channels=3, ratio=8)
        else:
            tf.io.decode_image(content, channels=3)
    except tf.errors.OpError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        value = image.getexif().get(ORIENTATION_TAG, 1)
        return value if value in TURNS else 1
    return exif_orientation(image.info.get("exif", b""))


def _upright(image: Image.Image) -> Image.Image:
    # Pillow turns a TIFF by itself.
    orientation = 1 if image.format == "TIFF" else _orientation(image)
    image.load()
    shown = _over_white(_eight_bits(image))
    return shown.transpose(TURNS[orientation]) if orientation != 1 else shown


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits. (Pillow would cut the values at 255.)"""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unusable(
            "unreadable image file: its pixels are numbers of 32 bits, which no viewer shows"
        )
    return image


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
