"""The figure of a comparison against its numbers."""

import numpy as np
import pytest

from harmonic_tf.training.comparison.figure import THRESHOLDS, precision_by_threshold
from harmonic_tf.training.comparison.report import Comparison

VALUES = {
    "standard": {number: [10.0, 12.0] for number in (*THRESHOLDS, "AP", "AIC")},
    "harmonic_det": {number: [13.0, 17.0] for number in (*THRESHOLDS, "AP", "AIC")},
}


def test_lines_are_means_and_bars_the_paired_intervals():
    figure = precision_by_threshold(Comparison(("standard", "harmonic_det"), (1, 2), VALUES))
    levels, gains = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in levels.lines}
    ious = [50, 60, 70, 75, 80, 90]
    assert drawn == {
        "standard": [[iou, 11.0] for iou in ious],
        "harmonic_det": [[iou, 15.0] for iou in ious],
    }
    ((line, _, (bars,)),) = gains.containers
    np.testing.assert_allclose(line.get_xydata(), [[iou, 4.0] for iou in ious])
    # 3 and 5: standard error 1, t(1) = 12.706.
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((4 - 12.706, 4 + 12.706), abs=1e-3)


def test_one_seed_has_neither_bands_nor_intervals():
    values = {
        loss: {number: found[:1] for number, found in v.items()} for loss, v in VALUES.items()
    }
    levels, gains = precision_by_threshold(
        Comparison(("standard", "harmonic_det"), (1,), values)
    ).axes
    ((_, _, (bars,)),) = gains.containers
    assert [np.ptp(segment[:, 1]) for segment in bars.get_segments()] == [0] * 6


def test_one_loss_is_compared_with_nothing():
    levels, gains = precision_by_threshold(Comparison(("standard",), (1, 2), VALUES)).axes
    assert len(levels.lines) == 1 and not gains.containers
