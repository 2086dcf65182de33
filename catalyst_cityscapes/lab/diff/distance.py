"""How far apart two measured values are, as a number without a unit.

Every kind of effect is measured on the scale on which recipes vary it, so that 1 is a large step of any kind:

- a positive amount (rate, steps, decay): a factor of ten;
- momentum: a factor of ten in the number of steps that a gradient lasts, 1 / (1 - momentum);
- a drawn quantity (scale, rotation): one standard deviation of the draws of both recipes together, or a stated
  least unit where they hardly vary;
- grey levels: one standard deviation of the input;
- a share or a weight: the whole;
- yes or no, one name or another: different.

That makes an order to read by, not a forecast of the score: what a difference costs, only trainings show.
Everything ends at 3, a factor of a thousand.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import wasserstein_distance

MOST = 3.0
POINTS = 1000
LEAST_SHARE_OF_PEAK = 1e-6
LEAST_MOMENTUM_GAP = 1e-3
LEVEL = 0.002
"""Of one row; some 16 rows are tested, so about 3 % of all comparisons of equal distributions show a false one."""
ALL_ARRANGEMENTS_UP_TO = 12
ARRANGEMENTS = 4000
ROUNDING = 1e-6
"""Distances of computed values below this are rounding."""


@dataclass(frozen=True)
class Gap:
    """How far apart two values are.

    Attributes:
        distance: 0 is equal, at most 3.
        noise: of drawn values, the distance that equal distributions stay below in 998 of 1000 cases; else None.
        chance: of drawn values, the probability that equal distributions look as different (p value); else None.
    """

    distance: float
    noise: float | None = None
    chance: float | None = None

    @property
    def told_apart(self) -> bool:
        """False where draws of equal distributions could well be as far apart."""
        return self.chance is None or self.chance <= LEVEL


Measure = Callable[[Any, Any], Gap]
EQUAL = Gap(0.0)


def choice(a: Any, b: Any) -> Gap:
    """0 for equal values, else 1."""
    return EQUAL if a == b else Gap(1.0)


def amount(floor: float = 0.0) -> Measure:
    """Decades between two amounts >= 0: `|log10((a + floor) / (b + floor))|`; `floor` is an amount without effect."""

    def gap(a: float, b: float) -> Gap:
        if a == b:
            return EQUAL
        low, high = sorted((a + floor, b + floor))
        return _computed(math.log10(high / low) if low > 0 else MOST)

    return gap


def _computed(distance: float) -> Gap:
    return Gap(min(distance, MOST)) if distance > ROUNDING else EQUAL


def linear(a: float, b: float) -> Gap:
    """The absolute difference, of shares 0..1 and of weights beside 1."""
    return _computed(abs(a - b))


def over_progress(curve: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Values of a step curve [steps] in the middle of `points` equal parts of the training."""
    position = (np.arange(points) + 0.5) / points * len(curve)
    return curve[position.astype(int).clip(0, len(curve) - 1)]


def _aligned(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (a, b) if len(a) == len(b) else (over_progress(a), over_progress(b))


def rate_curve(a: np.ndarray, b: np.ndarray) -> Gap:
    """Mean over the training of the decades between two curves of positive values, float [steps].

    Curves of other lengths are compared at equal progress. Below a millionth of the larger peak, all rates are one.
    """
    if not len(a) or not len(b):
        return choice(len(a), len(b))
    a, b = _aligned(a, b)
    floor = LEAST_SHARE_OF_PEAK * max(a.max(), b.max())
    if floor <= 0 or np.array_equal(a, b):
        return EQUAL
    decades = np.abs(np.log10(np.maximum(a, floor) / np.maximum(b, floor)))
    return _computed(float(decades.clip(0, MOST).mean()))


def momentum_curve(a: np.ndarray, b: np.ndarray) -> Gap:
    """Mean over the training of the decades between `1 / (1 - momentum)`, float [steps]."""
    if not len(a) or not len(b):
        return choice(len(a), len(b))
    a, b = (1 - values.clip(None, 1 - LEAST_MOMENTUM_GAP) for values in _aligned(a, b))
    return _computed(float(np.abs(np.log10(a / b)).clip(0, MOST).mean()))


def grey_levels(a: np.ndarray, b: np.ndarray) -> Gap:
    """Mean distance of the network's input for the grey levels 0..255.

    Args:
        a, b: float [2, channels]; mean and std of `(value - mean) / std`.
    """
    if np.shape(a) != np.shape(b):
        return Gap(1.0)
    levels = np.arange(256.0)[:, None]
    first, second = ((levels - mean) / std for mean, std in (a, b))
    distance = float(np.abs(first - second).mean())
    # float32 arithmetic and the fit behind the two numbers are not finer than this.
    return Gap(min(distance, MOST)) if distance > 1e-4 else EQUAL


def direction(a: np.ndarray | None, b: np.ndarray | None) -> Gap:
    """Relative difference of two gradients: `|a - b| / max(|a|, |b|)`, 0..2; other shapes are 1 apart."""
    if a is None or b is None:
        return choice(a is None, b is None)
    if a.shape != b.shape:
        return Gap(1.0)
    longest = max(np.linalg.norm(a), np.linalg.norm(b))
    distance = float(np.linalg.norm(a - b) / longest) if longest else 0.0
    return _computed(distance)


def draws(resolution: float, least_unit: float = 0.0) -> Measure:
    """Distance of two distributions from draws in pairs (the same image, the same seed).

    It is the Wasserstein distance (mean distance of the sorted values) in standard deviations of both samples together;
    two single values are 2 apart. Whether it is more than chance: under equal distributions, the two values of a pair
    could as well be the other way round, so the Wasserstein distance, which sees shifts, and the Kolmogorov-Smirnov
    distance, which sees shapes, are compared with those of such swaps (all of them up to 12 pairs, else 4000), each at
    half of a level of 0.2 %. Fewer than 11 pairs can therefore not be told apart, unless nothing is random.

    Args:
        resolution: of the measurement, in the values' unit; distributions that agree within it are equal.
        least_unit: taken for the standard deviation where that is smaller, so that trifles do not become large where
            nothing else varies.
    """

    def gap(a: np.ndarray, b: np.ndarray) -> Gap:
        count = min(len(a), len(b))
        a, b = np.asarray(a, np.float64)[:count], np.asarray(b, np.float64)[:count]
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.any():
            return choice(bool(np.isfinite(a).any()), bool(np.isfinite(b).any()))
        a, b = a[finite], b[finite]
        if np.abs(np.sort(a) - np.sort(b)).max() <= resolution:
            return EQUAL
        unit = max(float(np.std([*a, *b])), least_unit, resolution)
        distance = wasserstein_distance(a, b) / unit
        if np.ptp(a) <= resolution and np.ptp(b) <= resolution:
            return Gap(distance)
        swaps = _swaps(len(a))
        apart = _wasserstein(a, b, swaps) / unit
        shape = _kolmogorov(*(np.round(values / resolution) for values in (a, b)), swaps)
        return _against_chance(float(distance), apart, [apart, shape])

    return gap


def shares(a: np.ndarray, b: np.ndarray) -> Gap:
    """Total variation distance of the class shares of samples in pairs, int [count, K] pixels; tested as `draws` is.

    It is the share of the pixels that would have to change their class, 0..1.
    """
    if a.shape[1] != b.shape[1]:
        return Gap(1.0)
    count = min(len(a), len(b))
    a, b = a[:count].astype(np.float64), b[:count].astype(np.float64)
    if np.array_equal(a, b):
        return EQUAL
    swaps = _swaps(count).astype(np.float64)

    def variation(swapped: np.ndarray) -> np.ndarray:
        first, second = swapped @ b + (1 - swapped) @ a, swapped @ a + (1 - swapped) @ b
        parts = [total / np.maximum(total.sum(axis=1, keepdims=True), 1) for total in (first, second)]
        return np.abs(parts[0] - parts[1]).sum(axis=1) / 2

    found = variation(swaps)
    return _against_chance(float(found[0]), found, [found])


def _swaps(count: int) -> np.ndarray:
    """Which pairs are swapped, bool [arrangements, count]; the first is the arrangement that was seen."""
    if count <= ALL_ARRANGEMENTS_UP_TO:
        return np.array(list(product((False, True), repeat=count)))
    swaps = np.random.default_rng(0).random((ARRANGEMENTS, count)) < 0.5
    swaps[0] = False
    return swaps


def _wasserstein(a: np.ndarray, b: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    first, second = np.where(swaps, b, a), np.where(swaps, a, b)
    return np.abs(np.sort(first, axis=1) - np.sort(second, axis=1)).mean(axis=1)


def _kolmogorov(a: np.ndarray, b: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    together = np.concatenate([a, b])
    order = np.argsort(together, kind="stable")
    last_of_ties = np.append(np.diff(together[order]) > 0, True)
    belongs = np.where(np.concatenate([swaps, ~swaps], axis=1), -1, 1).astype(np.int32)[:, order]
    return np.abs(belongs.cumsum(axis=1)[:, last_of_ties]).max(axis=1) / len(a)


def _against_chance(distance: float, noise: np.ndarray, statistics: list[np.ndarray]) -> Gap:
    chances = [float((found >= found[0] * (1 - 1e-9)).mean()) for found in statistics]
    chance = min(1.0, len(chances) * min(chances))
    return Gap(distance, float(np.quantile(noise, 1 - LEVEL)), chance)
