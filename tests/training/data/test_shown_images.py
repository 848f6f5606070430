"""Images of every kind reach networks as a viewer shows them."""

import io
import struct
import zlib

import numpy as np
import pytest
from folders import mixed, picture
from PIL import Image

from harmonic_tf.training.data import eval_batches, fit_image, load_data, train_batches
from harmonic_tf.training.data.images import decode


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
@pytest.mark.parametrize("opacity", [None, 0, 51])
def test_palettes_of_few_bits_keep_their_colours(colours, opacity):
    image = picture(60, 80).convert("P", palette=Image.Palette.ADAPTIVE, colors=colours)
    content, options = io.BytesIO(), {} if opacity is None else {"transparency": bytes([opacity])}
    image.save(content, "PNG", bits=colours.bit_length() - 1, **options)
    shown = np.asarray(decode(content.getvalue()), np.float32)
    seen, *_ = fit_image(content.getvalue(), (60, 80), "stretch")
    np.testing.assert_allclose(seen, shown, atol=1)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_keeps_its_values(bits):
    grey = np.arange(32).reshape(4, 8) % 2**bits
    packed = np.packbits((grey[..., None] >> np.arange(bits)[::-1]) & 1, axis=None)
    rows = b"".join(b"\0" + row.tobytes() for row in packed.reshape(4, bits))
    header = struct.pack(">IIBBBBB", 8, 4, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    seen, *_ = fit_image(content, (4, 8), "stretch")
    np.testing.assert_allclose(seen[..., 0], grey * 255 // (2**bits - 1), atol=1)


def test_every_kind_is_seen_as_a_viewer_shows_it(tmp_path):
    root, shown = mixed(tmp_path)
    data = load_data(f"coco:{root}", on_bad_data="error")
    assert {(r.height, r.width) for r in data.records} == {(60, 80)}
    for record, pixels in zip(data.records, shown, strict=True):
        seen = np.asarray(decode(record.stored()), int)
        assert np.abs(seen - pixels).mean() < 3
    (batch,) = eval_batches(data, (60, 80))
    assert np.abs(batch["images"] - shown).mean() < 3
    np.testing.assert_array_equal(batch["original_size"], [[60, 80]] * 5)
    images, targets = next(iter(train_batches(data, (60, 80), 5)(0)))
    place = targets["boxes"][:, 0, 0].numpy().astype(int) - 1
    assert sorted(place) == [0, 1, 2, 3, 4]
    assert np.abs(images - shown[place]).mean() < 3
