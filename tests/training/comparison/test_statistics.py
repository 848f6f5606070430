"""Statistics of repeated runs against figures worked out by hand."""

import math

import pytest

from harmonic_tf.training.comparison.statistics import (
    Difference,
    paired_difference,
    resampled_difference,
    summarize,
    t_quantile,
)


def test_mean_and_sample_deviation():
    # Deviations -2, -1, 3: squares 14, over n - 1 = 2.
    summary = summarize([1.0, 2.0, 6.0])
    assert (summary.mean, summary.n) == (3.0, 3)
    assert summary.sd == pytest.approx(math.sqrt(7))


def test_one_value_has_no_spread():
    assert summarize([4.5]).sd is None
    assert paired_difference([3.0], [1.0]) == Difference(2.0, None, 1, None)
    assert paired_difference([3.0], [1.0]).within_noise


def test_differences_are_paired():
    # 1, 1, 4: mean 2, variance (1 + 1 + 4) / 2 = 3, error sqrt(3 / 3) = 1; t(2) = 4.303 > 2.
    difference = paired_difference([11.0, 21.0, 34.0], [10.0, 20.0, 30.0])
    assert difference.mean == pytest.approx(2.0)
    assert difference.standard_error == pytest.approx(1.0)
    assert difference.interval == pytest.approx((2 - 4.303, 2 + 4.303))
    assert difference.within_noise
    # 4, 5, 6: mean 5, error 1 / sqrt(3): 8.66 errors from 0.
    assert not paired_difference([14.0, 25.0, 36.0], [10.0, 20.0, 30.0]).within_noise
    assert not paired_difference([10.0, 20.0, 30.0], [14.0, 25.0, 36.0]).within_noise


def test_equal_values_differ_within_noise_and_a_constant_difference_does_not():
    assert paired_difference([1.0, 2.0], [1.0, 2.0]).within_noise
    assert not paired_difference([2.0, 3.0], [1.0, 2.0]).within_noise


def test_pairs_must_match():
    with pytest.raises(ValueError):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError):
        resampled_difference(0.0, [[1.0, 2.0]], [[1.0]])


def test_the_error_over_images_is_the_spread_of_the_mean_difference_over_resamples():
    """Two seeds. Differences 1, 3, 2 and 3, 5, 1: means 2, 4, 1.5; their deviation is sqrt(1.75).

    The differences of the two seeds rise and fall together: taken one by one they would spread
    less.
    """
    values = [[11.0, 23.0, 32.0], [13.0, 25.0, 31.0]]
    found = resampled_difference(2.2, values, [[10.0, 20.0, 30.0]] * 2)
    error = math.sqrt(1.75)
    assert found.standard_error == pytest.approx(error)
    assert (found.mean, found.n) == (2.2, 3)
    assert found.interval == pytest.approx((2.2 - 1.96 * error, 2.2 + 1.96 * error))


def test_resamples_without_objects_do_not_count():
    found = resampled_difference(1.0, [[1.0, None, 3.0]], [[0.0, None, 0.0]])
    assert (found.n, found.standard_error) == (2, pytest.approx(math.sqrt(2)))
    assert resampled_difference(1.0, [[None, None]], [[None, None]]).interval is None


@pytest.mark.parametrize("df", [1, 2, 4, 9, 30])
def test_the_quantile_leaves_one_fortieth_above(df):
    # Simpson's rule on the density of Student's t from 0 to the quantile.
    t, steps = t_quantile(df), 20_000
    scale = math.gamma((df + 1) / 2) / math.sqrt(df * math.pi) / math.gamma(df / 2)
    width = t / steps
    weights = [1, *[4, 2] * (steps // 2 - 1), 4, 1]
    area = sum(w * (1 + (i * width) ** 2 / df) ** (-(df + 1) / 2) for i, w in enumerate(weights))
    assert 0.5 + scale * area * width / 3 == pytest.approx(0.975, abs=2e-5)


def test_many_degrees_of_freedom_stay_cautious():
    assert t_quantile(1000) == t_quantile(30) == 2.042
