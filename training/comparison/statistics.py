"""Means, spreads and paired differences of a few repeated runs."""

import math
from dataclasses import dataclass

# Student's t, two-sided 95 %, for 1, 2, ... 30 degrees of freedom.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Mean of n numbers, and their sample standard deviation (None for n = 1)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of n paired differences with its standard error (None for n = 1).

    Attributes:
        mean: float.
        standard_error: float or None.
        n: int. Number of pairs.
        within_noise: bool. Whether 0 lies inside the 95 % confidence interval of Student's t; a
            single pair never leaves it.
    """

    mean: float
    standard_error: float | None
    n: int
    within_noise: bool


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
    """How much `values` exceed `references`, pair by pair.

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
    """
    summary = summarize([a - b for a, b in zip(values, references, strict=True)])
    if summary.sd is None:
        return Difference(summary.mean, None, 1, True)
    error = summary.sd / math.sqrt(summary.n)
    within_noise = abs(summary.mean) <= t_quantile(summary.n - 1) * error
    return Difference(summary.mean, error, summary.n, within_noise)
