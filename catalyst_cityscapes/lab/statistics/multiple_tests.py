"""Correction for several tests at once."""

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: calling those up to 0.05 keeps the chance of any false call at 5 %.

    The i-th smallest of m (i = 0, 1, ...) is multiplied by m - i, and is at least the adjusted one before it. Needs no
    assumption on how the tests depend on each other.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).

    Args:
        p: p-values, float [m], 0..1.

    Returns:
        Adjusted p-values in the same order, float64 [m], 0..1.

    Raises:
        ValueError: not a vector, or values outside 0..1.
    """
    values = np.asarray(p, np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("expected a vector of p-values in 0..1")
    order = np.argsort(values, kind="stable")
    grown = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(grown), 1.0)
    return adjusted
