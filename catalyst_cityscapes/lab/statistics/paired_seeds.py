"""Interval and p-value of a mean difference over paired seeds."""

import warnings
from typing import Any

import numpy as np
from scipy import stats

from catalyst_cityscapes.lab.statistics.interval import Interval
from catalyst_cityscapes.lab.statistics.sign_flip import smallest_sign_flip_p


def seed_bounds(differences: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Student's interval of the mean along the last axis: mean -+ t(S - 1) * sd / sqrt(S).

    The difference of two arms whose runs scatter alike is symmetric however skewed the scatter of one run is, and for
    symmetric noise Student's t keeps 95 to 97 % from 3 seeds on, where every bootstrap fails. Where only one arm
    scatters, and skewed, it covers less: down to 88 % (docs/statistics.md has all candidates).

    Source: Student, The probable error of a mean, Biometrika 6 (1908).

    Args:
        differences: arm - base of each seed, float [..., S], S >= 2.
        confidence: 0..1, of each interval alone.

    Returns:
        Lower and upper ends, float64 [...]; both are the mean where all S differences are equal.

    Raises:
        ValueError: fewer than two differences, values that are not finite, a confidence outside 0..1.
    """
    values, constant, found = _t_test(differences)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected more than 0 and less than 1")
    ends = found.confidence_interval(confidence)
    return np.where(constant, values[..., 0], ends.low), np.where(constant, values[..., 0], ends.high)


def seed_interval(differences: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of paired differences [S]; see `seed_bounds` for how, and for what is raised."""
    low, high = seed_bounds(differences, confidence)
    return Interval(float(low), float(high))


def paired_t_test(differences: np.ndarray) -> np.ndarray:
    """Two-sided p-values of Student's paired t-test along the last axis: below 1 - c where `seed_bounds` at c lack 0.

    Where all differences are equal there is no scatter to measure against: the p-value is then 1 if they are 0, else
    the smallest that a sign-flip test of so many seeds has.

    Args:
        differences: float [..., S], S >= 2.

    Returns:
        p-values, float64 [...], 0..1.

    Raises:
        ValueError: fewer than two differences, or values that are not finite.
    """
    values, constant, found = _t_test(differences)
    without_scatter = np.where(values[..., 0] == 0, 1.0, smallest_sign_flip_p(values.shape[-1]))
    return np.where(constant, without_scatter, found.pvalue)


def _t_test(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    """The differences [..., S] as float64, where all S are equal [...], and scipy's one-sample test along the axis."""
    values = np.asarray(differences, np.float64)
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(f"differences of shape {values.shape}: expected two or more along the last axis")
    if not np.isfinite(values).all():
        raise ValueError("differences hold values that are not finite")
    with warnings.catch_warnings():
        # Equal differences divide by 0; the callers have their own answer there.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_1samp(values, 0.0, axis=-1)
    return values, np.ptp(values, axis=-1) == 0, found
