"""Orientation in TensorFlow against that in Python, and what a graph decodes against Pillow."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from folders import picture
from PIL import Image
from test_images import STORED, encode, oriented

from harmonic_tf.training.data import fit_image
from harmonic_tf.training.data.images import decode, exif_orientation
from harmonic_tf.training.data.transforms.geometry import place
from harmonic_tf.training.data.transforms.orientation import orientation_of, stored_window, turn
from harmonic_tf.training.data.transforms.render import render

in_graph = tf.function(orientation_of, input_signature=[tf.TensorSpec([], tf.string)])


def jpeg_with(exif: bytes, before: bytes = b"") -> bytes:
    """A JPEG with an APP1 segment as given, behind other segments."""
    content = encode(picture(16, 24), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif
    return content[:2] + before + segment + content[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_tag_is_read_in_the_graph(kind, orientation):
    assert in_graph(oriented(orientation, kind)).numpy() == orientation


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WEBP"])
def test_other_kinds_are_upright_in_the_graph(kind):
    assert in_graph(encode(picture(), kind)).numpy() == 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_either_byte_order_and_form(order, kind):
    value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", 8)
    entries = [struct.pack(f"{order}HHI4x", 0x0100, 3, 1)]
    entries.append(struct.pack(f"{order}HHI", 0x0112, kind, 1) + value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    exif = b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 2) + b"".join(entries)
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xe1\0\0" + b"\xff\xff"
    assert in_graph(jpeg_with(exif, before=comment)).numpy() == exif_orientation(exif) == 8


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0II*\0\x08\0\0\0\x00\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>",
    ],
)
def test_broken_exif_is_upright_in_the_graph_too(exif):
    assert in_graph(jpeg_with(exif)).numpy() == exif_orientation(exif) == 1


def test_what_is_no_image_is_upright_and_ends():
    whole = oriented(6, "JPEG")
    for content in (b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8" + bytes(99), whole[:30]):
        assert in_graph(content).numpy() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_pixels_and_windows(orientation):
    shown = np.arange(6 * 9 * 3).reshape(6, 9, 3)
    stored = STORED[orientation](shown)
    np.testing.assert_array_equal(turn(tf.constant(stored), orientation), shown)
    window = tf.constant([1, 2, 4, 8])
    y1, x1, y2, x2 = stored_window(window, tf.constant(stored.shape[:2]), orientation).numpy()
    part = turn(tf.constant(stored[y1:y2, x1:x2]), orientation)
    np.testing.assert_array_equal(part, shown[1:4, 2:8])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_fitted_images_are_upright(kind, orientation):
    content = oriented(orientation, kind)
    upright, scale, offset, size = fit_image(tf.constant(content), (100, 140), "letterbox")
    assert size.numpy().tolist() == [50, 70]
    np.testing.assert_allclose(scale, [2, 2])
    wanted, *_ = fit_image(tf.constant(encode(decode(content), "PNG")), (100, 140), "letterbox")
    np.testing.assert_allclose(upright, wanted, atol=4)
    given, *_ = fit_image(tf.constant(content), (100, 140), "letterbox", orientation)
    np.testing.assert_array_equal(given, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_of_a_turned_jpeg_is_decoded_at_a_fraction_of_its_size(orientation):
    """The sides of the image are no multiples of the fraction."""
    shown = np.asarray(picture(331, 477, seed=3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))
    content = encode(stored, "JPEG", quality=95, exif=exif)
    window = tf.constant([40.0, 80.0, 280.0, 400.0])
    placed = place(window, tf.constant([331, 477]), True, (60, 80), "stretch")
    assert placed.level.numpy() == 2
    image = render(tf.constant(content), placed, (60, 80), orientation).numpy()
    wanted = Image.fromarray(shown[40:280, 80:400]).resize((80, 60), Image.Resampling.BOX)
    # A fraction of an odd size is rounded up: less than a pixel of a smooth image.
    assert np.abs(image - np.asarray(wanted)).mean() < 4


def shown_by_tensorflow(content):
    width, height = Image.open(io.BytesIO(content)).size
    return fit_image(tf.constant(content), (height, width), "stretch")[0].numpy()


@pytest.mark.parametrize(
    "kind, mode, options",
    [
        ("BMP", "P", {}),
        ("BMP", "L", {}),
        ("BMP", "RGB", {}),
        ("GIF", "P", {}),
        ("PNG", "P", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "L", {}),
        ("PNG", "LA", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "I;16", {}),
    ],
)
def test_the_graph_shows_what_a_viewer_shows(kind, mode, options):
    """An odd width: rows of a BMP are padded."""
    if mode == "P":
        image = picture(50, 71).convert("P", palette=Image.Palette.ADAPTIVE, colors=20)
    elif mode == "I;16":
        image = Image.fromarray(np.arange(50 * 71, dtype=np.uint16).reshape(50, 71) * 18)
    else:
        image = picture(50, 71).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(picture(50, 71, seed=2).convert("L"))
    content = encode(image, kind, **options)
    np.testing.assert_allclose(shown_by_tensorflow(content), np.asarray(decode(content)), atol=1)


@pytest.mark.parametrize("mode", ["1", "RGBA"])
def test_a_bmp_that_the_graph_does_not_decode_is_refused(mode):
    content = encode(picture(50, 70).convert(mode), "BMP")
    with pytest.raises(tf.errors.InvalidArgumentError, match="BMP is decoded here if"):
        fit_image(tf.constant(content), (50, 70), "stretch")
