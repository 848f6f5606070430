"""Run lengths against pycocotools, and by hand."""

import numpy as np
import pytest
from pycocotools import mask as pycocotools

from harmonic_tf.training.rle import as_rle, decode, encode, run_lengths, runs


def by_pycocotools(image):
    found = pycocotools.encode(np.asfortranarray(image.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_runs_are_those_of_pycocotools_and_back(share):
    image = np.random.default_rng(1).random((13, 9)) < share
    found = encode(image)
    assert found == by_pycocotools(image)
    assert decode(found).dtype == bool
    np.testing.assert_array_equal(decode(found), image)


def test_every_form_of_an_annotation_gives_the_same_runs():
    """The left 3 of 5 columns, all 4 rows; then two corners of them."""
    image = np.zeros((4, 5), bool)
    image[:, :3] = True
    whole = by_pycocotools(image)
    assert as_rle([[0, 0, 3, 0, 3, 4, 0, 4]], (4, 5)) == whole
    assert as_rle([[0, 0, 1, 0, 1, 4, 0, 4], [1, 0, 3, 0, 3, 4, 1, 4]], (4, 5)) == whole
    assert as_rle({"size": [4, 5], "counts": [0, 12, 8]}, (4, 5)) == whole
    assert as_rle(whole, (4, 5)) == whole


def test_runs_by_hand():
    """Down the columns: 0 1 | 1 1 | 0 0."""
    image = np.array([[0, 1, 0], [1, 1, 0]], bool)
    assert runs(image) == {"size": [2, 3], "counts": [1, 3, 2]}
    assert runs(~image) == {"size": [2, 3], "counts": [0, 1, 3, 2]}
    np.testing.assert_array_equal(decode(runs(image)), image)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_image_without_pixels_has_no_runs(shape):
    found = runs(np.zeros(shape, bool))
    assert sum(found["counts"]) == 0
    assert decode(found).shape == shape


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_lengths_of_compressed_runs(share):
    """Differences to the run two before are negative, too, and up to 60 000 long."""
    image = np.random.default_rng(2).random((200, 300)) < share
    image[:50, 100:200] = True
    counts = runs(image)["counts"]
    compressed = encode(image)["counts"]
    for form in (counts, compressed, compressed.encode()):
        np.testing.assert_array_equal(run_lengths(form), counts)


@pytest.mark.parametrize("counts", [[1.5, 2], None, "", 3])
def test_malformed_lengths_raise(counts):
    with pytest.raises((ValueError, IndexError, TypeError)):
        run_lengths(counts)
