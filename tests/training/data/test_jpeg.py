import io
import struct

import numpy as np
import pytest
from folders import picture
from PIL import Image

from harmonic_tf.training.data import images
from harmonic_tf.training.data.images import read_header
from harmonic_tf.training.data.jpeg import EXIF, plain_jpeg

# An upright image, and one that is to be turned by a quarter.
TURNED = EXIF + bytes.fromhex("4949 2a00 08000000 0100 1201 0300 01000000 06000000 00000000")


def encoded(**options) -> bytes:
    file = io.BytesIO()
    picture(23, 37).save(file, "JPEG", **options)
    return file.getvalue()


def segment(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body


def with_segments(*segments: bytes) -> bytes:
    whole = encoded()
    return whole[:2] + b"".join(segments) + whole[2:]


def test_a_plain_jpeg_says_its_size_and_what_exif_it_has():
    assert plain_jpeg(encoded()) == (23, 37, b"")
    assert plain_jpeg(encoded(progressive=True))[:2] == (23, 37)
    assert plain_jpeg(with_segments(segment(0xE1, TURNED))) == (23, 37, TURNED)


@pytest.mark.parametrize("cut", [6, 14, 20])
def test_exif_data_in_two_segments_are_joined(cut):
    """As Pillow joins them; the header's sides are those of the turned image."""
    halves = (segment(0xE1, TURNED[:cut]), segment(0xE1, EXIF + TURNED[cut:]))
    content = with_segments(*halves)
    assert plain_jpeg(content).exif == TURNED
    assert Image.open(io.BytesIO(content)).info["exif"] == TURNED
    assert read_header(content)[:5] == (37, 23, True, 6, False)


UNUSUAL = {
    "short JFIF": with_segments(segment(0xE0, b"JFIF")),
    "short Adobe": with_segments(segment(0xEE, b"Adobe")),
    "Photoshop": with_segments(segment(0xED, b"Photoshop 3.0\0")),
    "marker without a length": with_segments(b"\xff\x01"),
    "stray bytes": with_segments(b"\0\0"),
    "two frames": with_segments(segment(0xC0, bytes([8, 0, 9, 0, 9, 1, 1, 0x11, 0]))),
    "12 bits": with_segments(segment(0xC1, bytes([12, 0, 9, 0, 9, 1, 1, 0x11, 0]))),
    "no picture": encoded()[:2],
    "another kind": b"GIF89a",
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_gets_a_closer_look(name):
    assert plain_jpeg(UNUSUAL[name]) is None


def test_a_closer_look_finds_the_same(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (23, 37, 3), np.uint8)
    files = [encoded(), encoded(progressive=True), with_segments(segment(0xE1, TURNED))]
    for mode in ("RGB", "L", "CMYK"):
        file = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(file, "JPEG", icc_profile=bytes(200))
        files.append(file.getvalue())
    assert all(map(plain_jpeg, files))
    at_once = [read_header(content) for content in files]
    monkeypatch.setattr(images, "plain_jpeg", lambda content: None)
    assert [read_header(content) for content in files] == at_once
