"""Means, spreads and paired differences of a few repeated runs."""

import math
from dataclasses import dataclass

# Student's t, two-sided 95 %, for 1, 2, ... 30 degrees of freedom.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip

_Z_975 = 1.96


@dataclass(frozen=True)
class Summary:
    """Mean of n numbers, and their sample standard deviation (None for n = 1)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, and how far it may be off.

    Attributes:
        mean: float.
        standard_error: float or None, where it is not known.
        n: int. Number of pairs, or of resamples.
        interval: (float, float) or None. The 95 % confidence interval of the mean.
    """

    mean: float
    standard_error: float | None
    n: int
    interval: tuple[float, float] | None

    @property
    def within_noise(self) -> bool:
        """Whether 0 lies inside the interval; what has none never leaves it."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]


def t_quantile(degrees_of_freedom: int) -> float:
    """The 0.975 quantile of Student's t; beyond 30 degrees of freedom, cautiously that of 30.

    Example:

    >>> t_quantile(4)
    2.776
    """
    return _T_975[min(degrees_of_freedom, len(_T_975)) - 1]


def summarize(values) -> Summary:
    """Mean and sample standard deviation.

    Args:
        values: sequence of float, at least one.

    Returns:
        Summary.

    Example:

    >>> summarize([1.0, 2.0, 3.0])
    Summary(mean=2.0, sd=1.0, n=3)
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(mean, None, 1)
    return Summary(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)), n)


def paired_difference(values, references) -> Difference:
    """How much `values` exceed `references`, pair by pair, with the interval of Student's t.

    Args:
        values: sequence of float, at least one.
        references: sequence of float, as many.

    Returns:
        Difference.

    Raises:
        ValueError: If the lengths differ.

    Example:

    >>> difference = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    >>> difference.mean, round(difference.standard_error, 4), difference.within_noise
    (2.0, 0.5774, True)
    >>> [round(end, 2) for end in difference.interval]
    [-0.48, 4.48]
    """
    summary = summarize([a - b for a, b in zip(values, references, strict=True)])
    if summary.sd is None:
        return Difference(summary.mean, None, 1, None)
    error = summary.sd / math.sqrt(summary.n)
    reach = t_quantile(summary.n - 1) * error
    interval = (summary.mean - reach, summary.mean + reach)
    return Difference(summary.mean, error, summary.n, interval)


def resampled_difference(mean, values, references) -> Difference:
    """How far a mean difference may be off because of the images that it was measured on.

    The standard error is the paired bootstrap's: the standard deviation of the mean difference
    over the resamples, in each of which all runs meet the same images.

    Args:
        mean: float. The mean difference on all images.
        values: one sequence for each run: its number on every resample of the images, None where
            there is nothing to find.
        references: as many, of the runs that they are compared with.

    Returns:
        Difference. Its interval is the normal one, 1.96 standard errors to either side.

    Example:

    >>> resampled_difference(2.0, [[3.0, 5.0, 7.0]], [[2.0, 3.0, 4.0]]).standard_error
    1.0
    """
    runs = [zip(a, b, strict=True) for a, b in zip(values, references, strict=True)]
    resamples = [pairs for pairs in zip(*runs, strict=True) if None not in sum(pairs, ())]
    found = [math.fsum(a - b for a, b in pairs) / len(pairs) for pairs in resamples]
    error = summarize(found).sd if found else None
    interval = None if error is None else (mean - _Z_975 * error, mean + _Z_975 * error)
    return Difference(mean, error, len(found), interval)
