"""What is found out about an image's file, against files that are made here."""

import concurrent.futures
import io
import struct
import zlib

import numpy as np
import pytest
from folders import picture
from PIL import Image, ImageFile

from harmonic_tf.training.data import images
from harmonic_tf.training.data.images import (
    as_bmp,
    blank,
    decode,
    exif_orientation,
    read_header,
)
from harmonic_tf.training.data.pixels import PixelBudget
from harmonic_tf.training.data.problems import Unusable

# What EXIF says of each orientation: the stored image made of the one that is shown.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
SHOWN = np.asarray(picture(50, 70))


def encode(image, kind, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def oriented(orientation, kind, **options) -> bytes:
    """A file that a viewer shows as SHOWN, stored in another way."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](SHOWN)))
    return encode(stored, kind, exif=exif, **options)


def jpeg(tmp_path, **options):
    file = tmp_path / "a.jpg"
    picture(50, 70).save(file, **options)
    return file


@pytest.mark.parametrize("progressive", [False, True])
def test_header_of_whole_images(tmp_path, progressive):
    header = read_header(jpeg(tmp_path, progressive=progressive))
    assert header[:5] == (50, 70, True, 1, False)


def test_a_jpeg_that_tensorflow_decodes_is_decoded_once(tmp_path, monkeypatch):
    content = jpeg(tmp_path).read_bytes()
    monkeypatch.delattr(Image.Image, "load")
    monkeypatch.delattr(ImageFile.ImageFile, "load")
    assert read_header(content)[:5] == (50, 70, True, 1, False)
    monkeypatch.setattr(images, "_tensorflow_decodes", lambda *_: False)
    with pytest.raises(Unusable, match="no attribute 'load'"):
        read_header(content)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    assert read_header(jpeg(tmp_path).read_bytes() + bytes(500))[:3] == (50, 70, True)


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_cut(tmp_path):
    thumbnail = jpeg(tmp_path).read_bytes()
    exif = b"Exif\x00\x00" + thumbnail
    content = jpeg(tmp_path, exif=exif).read_bytes()
    assert content.count(b"\xff\xd9") == 2
    assert read_header(content)[:3] == (50, 70, True)
    with pytest.raises(Unusable, match="truncated"):
        read_header(content[:-20])


def test_truncated_png(tmp_path):
    file = tmp_path / "a.png"
    picture(50, 70).save(file)
    assert read_header(file)[:5] == (50, 70, False, 1, False)
    with pytest.raises(Unusable, match="truncated"):
        read_header(file.read_bytes()[:-20])


def test_a_png_with_a_wrong_checksum_is_named():
    content = bytearray(encode(picture(50, 70), "PNG"))
    content[60:64] = b"\1\2\3\4"
    with pytest.raises(Unusable, match="unreadable image file: wrong checksum of PNG chunk IDAT"):
        read_header(bytes(content))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_a_file_that_is_cut_is_named(kind, keep):
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    content = encode(Image.fromarray(noise), kind)
    with pytest.raises(Unusable, match="truncated|unreadable"):
        read_header(content[: int(keep * len(content))])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_is_turned_upright(kind, orientation):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = oriented(orientation, kind, **lossless)
    np.testing.assert_array_equal(np.asarray(decode(content)), SHOWN)
    header = read_header(content)
    assert header[:4] == (50, 70, False, orientation)
    assert header.with_pillow == (kind != "PNG" or orientation != 1)
    assert header.stored_size == ((50, 70) if orientation < 5 else (70, 50))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright(orientation):
    content = oriented(orientation, "JPEG", quality=100, subsampling=0)
    np.testing.assert_allclose(np.asarray(decode(content), int), SHOWN.astype(int), atol=6)
    assert read_header(content)[:5] == (50, 70, True, orientation, False)
    # Who does not know of orientation sees the same.
    again = Image.open(io.BytesIO(as_bmp(content)))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(decode(content)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", [3, 4])
def test_the_tag_in_either_byte_order_and_as_short_or_long(order, size):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(f"{order}H2x" if size == 3 else f"{order}I", 6)
    other = struct.pack(f"{order}HHI4x", 0x0100, 3, 1)
    entry = struct.pack(f"{order}HHI", 0x0112, size, 1) + value
    directory = mark + struct.pack(f"{order}IH", 8, 2) + other + entry
    assert exif_orientation(directory) == exif_orientation(b"Exif\0\0" + directory) == 6


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"nonsense" * 9,
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
    ],
)
def test_broken_exif_is_upright(exif):
    assert exif_orientation(exif) == 1


def test_what_tensorflow_refuses_is_left_to_pillow():
    content = io.BytesIO()
    picture(50, 70).save(content, "BMP")
    with_more = content.getvalue() + b"more"
    assert not read_header(content.getvalue()).with_pillow
    assert read_header(with_more).with_pillow
    np.testing.assert_array_equal(decode(with_more), picture(50, 70))


def test_an_mpo_is_the_jpeg_that_it_begins_with():
    other = picture(50, 70, seed=1)
    content = encode(picture(50, 70), "MPO", save_all=True, append_images=[other])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert read_header(content)[:5] == (50, 70, True, 1, False)
    assert np.abs(np.asarray(decode(content), int) - SHOWN).mean() < 4


def test_palettes_give_their_colours():
    red = Image.new("RGB", (9, 9), (220, 40, 40))
    for content in (
        encode(red.convert("P", palette=Image.Palette.ADAPTIVE), "BMP"),
        encode(red.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        encode(red, "GIF"),
    ):
        assert np.asarray(decode(content))[4, 4].tolist() == [220, 40, 40]


@pytest.mark.parametrize("bits", ["1", "P", "L", "RGBA"])
def test_bmp_other_than_of_24_bits_is_for_pillow(bits):
    header = read_header(encode(picture(50, 70).convert(bits), "BMP"))
    assert header[:5] == (50, 70, False, 1, True)
    assert not read_header(encode(picture(50, 70), "BMP")).with_pillow


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_colours_lie_over_white(kind):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:] = (200, 100, 0, 0)
    pixels[:4, :, 3] = 255
    pixels[:, :4, 3] = 51  # a fifth
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    shown = np.asarray(decode(encode(Image.fromarray(pixels), kind, **options)))
    assert shown[0, 7].tolist() == [200, 100, 0]
    assert shown[7, 7].tolist() == [255, 255, 255]
    np.testing.assert_allclose(shown[0, 0], [244, 224, 204], atol=1)


def test_sixteen_bits_keep_their_upper_eight():
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        shown = np.asarray(decode(encode(Image.fromarray(grey), kind)))
        np.testing.assert_array_equal(shown, np.repeat((grey >> 8)[..., None], 3, axis=-1))


def test_pixels_of_32_bits_are_refused():
    content = encode(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    with pytest.raises(Unusable, match="32 bits"):
        read_header(content)


def bomb(width, height) -> bytes:
    """A PNG of a few bytes that says it is large."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (90_000_000, 1)])
def test_images_that_would_fill_the_memory_are_refused(size):
    with pytest.raises(Unusable, match="image too large: .*more than 89478485 pixels"):
        read_header(bomb(*size))


def test_other_files_are_refused_with_the_way_out(tmp_path):
    for content in (b"text", b"%!PS-Adobe-3.0 EPSF-3.0\n", encode(picture(), "PPM")):
        with pytest.raises(Unusable, match="unreadable image file: not JPEG, PNG, .* convert"):
            read_header(content)
    with pytest.raises(Unusable, match="missing image file") as error:
        read_header(tmp_path)
    assert error.value.file == tmp_path


def test_a_blank_image_is_grey():
    assert np.unique(np.asarray(decode(blank(3, 5)))).tolist() == [127]
    assert decode(blank(3, 5)).size == (5, 3)


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(Unusable, match="^unreadable image file: it is empty$"):
        read_header(tmp_path / "a.jpg")


@pytest.mark.parametrize("read", [read_header, decode])
def test_an_image_waits_until_its_pixels_are_free(monkeypatch, read):
    budget = PixelBudget(50 * 70)
    monkeypatch.setattr(images, "AT_ONCE", budget)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with budget.taking(1):
            waiting = pool.submit(read, encode(picture(50, 70), "PNG"))
            with pytest.raises(concurrent.futures.TimeoutError):
                waiting.result(0.2)
        assert waiting.result(60).height == 50
    assert budget.left == 50 * 70
