"""Numbers with as few decimals as say the same: 473.07, where float32 holds 473.0700073242."""

from collections.abc import Callable

import numpy as np

MOST_DECIMALS = 9


def shortest(values: np.ndarray, read: Callable = lambda values: values) -> np.ndarray:
    """Values rounded to the fewest decimals that a reader takes for the same numbers.

    Args:
        values: float array.
        read: function of such an array, what a reader makes of it before it is kept as float32.

    Returns:
        float64 array.

    Example:
        >>> shortest(np.float32([473.07, 0.1, 12])).tolist()
        [473.07, 0.1, 12.0]
    """
    values = np.asarray(values, np.float64)
    expected, found = np.float32(read(values)), values.copy()
    for decimals in range(MOST_DECIMALS, -1, -1):
        rounded = np.round(values, decimals)
        found = np.where(np.float32(read(rounded)) == expected, rounded, found)
    return found
