import math

import numpy as np
import pytest

from harmonic_tf.training.data import validation
from harmonic_tf.training.data.images import Header
from harmonic_tf.training.data.problems import Unusable

HEADER = Header(height=300, width=20000, is_jpeg=True)
NEXT = float(np.nextafter(np.float32(19000), np.float32(20000)))


def checked(box):
    log = validation.ProblemLog()
    try:
        return log.checked_box(box, HEADER), log.clipped
    except Unusable as error:
        return str(error).partition(":")[0]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 20000, 300), ((0, 0, 20000, 300), 0)),
        ((1.5, 2, 3, 4.25), ((1.5, 2, 3, 4.25), 0)),
        ((-0.5, 2, 3, 301), ((0, 2, 3, 300), 0)),
        ((-9, 2, 3, 4), ((0, 2, 3, 4), 1)),
        ((19000, 2, NEXT, 4), ((19000, 2, NEXT, 4), 0)),
        ((19000, 2, 19000 + 1e-4, 4), "box of zero area"),  # as float32
        ((5, 2, 5, 4), "box of zero area"),
        ((5, 4, 9, 2), "inverted box"),
        ((5, 2, math.nan, 4), "box is not finite"),
        ((5, 300, 9, 310), "box outside the image"),
    ],
)
def test_a_box_is_cut_at_the_border_or_named(monkeypatch, box, expected):
    assert checked(box) == expected
    monkeypatch.setattr(validation, "SURELY_APART", 1)  # no box is taken without a closer look
    assert checked(box) == expected
