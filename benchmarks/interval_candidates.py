"""Ways to put an interval around a mean over paired seeds, and around a difference in mIoU over images.

Each takes many experiments, or many resamples, at once; statistics_coverage.py compares them by simulation.
"""

import itertools

import numpy as np
from scipy import stats

from catalyst_cityscapes.lab.statistics import seed_bounds
from catalyst_cityscapes.lab.statistics.image_bootstrap import BLOCK, interval_from_areas, studentised
from semseg_ref.metric import EPSILON
from simulation import draws

TAILS = (0.025, 0.975)


def _rowwise_quantile(values, shares):
    """Linear quantile of each row [E, R] at a share of its own [E]."""
    ordered = np.sort(values, axis=1)
    place = np.clip(shares, 0, 1) * (values.shape[1] - 1)
    below = np.minimum(place.astype(int), values.shape[1] - 2)
    rows = np.arange(len(values))
    part = place - below
    return ordered[rows, below] * (1 - part) + ordered[rows, below + 1] * part


def _bca(again, observed, skewness_of_mean):
    """BCa ends from resampled means [E, R], the mean [E] and the acceleration [E]."""
    below = ((again < observed[:, None]).mean(axis=1) + (again <= observed[:, None]).mean(axis=1)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / again.shape[1], 1 - 1 / again.shape[1]))
    ends = []
    for tail in TAILS:
        shifted = bias + stats.norm.ppf(tail)
        ends.append(_rowwise_quantile(again, stats.norm.cdf(bias + shifted / (1 - skewness_of_mean * shifted))))
    return tuple(ends)


def _bootstrap_t(values, mean, error, again, weights):
    """Two-sided and symmetric bootstrap-t; resamples of one value only are left out."""
    seeds = values.shape[1]
    squares = values**2 @ weights.T / seeds - again**2
    errors = np.sqrt(np.maximum(squares, 0) / (seeds - 1))
    usable = (weights > 0).sum(axis=1) > 1
    ratios = (again - mean[:, None])[:, usable] / np.maximum(errors[:, usable], 1e-12)
    low, high = np.quantile(ratios, TAILS, axis=1)
    half = np.quantile(np.abs(ratios), 0.95, axis=1)
    return (mean - high * error, mean - low * error), (mean - half * error, mean + half * error)


def _skewness_corrected(values, mean, error):
    """Johnson's interval (1978), moved by the third moment, and Hall's (1992), whose transformed t is monotone."""
    seeds = values.shape[1]
    variance = values.var(axis=1, ddof=1)
    third = ((values - mean[:, None]) ** 3).sum(axis=1) * seeds / ((seeds - 1) * (seeds - 2))
    half = stats.t.ppf(TAILS[1], seeds - 1) * error
    moved = mean + third / (6 * variance * seeds)
    skewness = third / variance**1.5 / np.sqrt(seeds)
    skewness = np.where(np.abs(skewness) < 1e-6, 1e-6, skewness)
    ends = [
        mean - error * 3 / skewness * (np.cbrt(1 + skewness * (sign * half / error - skewness / 6)) - 1)
        for sign in (1, -1)
    ]
    return (moved - half, moved + half), tuple(ends)


def _sign_flip(values):
    """The means that the sign-flip test does not reject: between ordered means of subsets (Hartigan 1969)."""
    seeds = values.shape[1]
    dropped = int(0.025 * 2**seeds)
    if dropped == 0:
        infinite = np.full(len(values), np.inf)
        return -infinite, infinite
    subsets = np.array(list(itertools.product((0.0, 1.0), repeat=seeds))[1:])
    means = np.sort(values @ (subsets / subsets.sum(axis=1, keepdims=True)).T, axis=1)
    return means[:, dropped - 1], means[:, -dropped]


def seed_candidates(values, rng, resamples):
    """name -> (low, high), each [E], of all candidates on differences [E, S]."""
    seeds = values.shape[1]
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(seeds)
    weights = draws(rng, resamples, seeds)
    again = values @ weights.T / seeds
    low, high = np.quantile(again, TAILS, axis=1)
    off = values - mean[:, None]
    acceleration = (off**3).sum(axis=1) / (6 * (off**2).sum(axis=1) ** 1.5)
    two_sided, symmetric = _bootstrap_t(values, mean, error, again, weights)
    johnson, hall = _skewness_corrected(values, mean, error)
    return {
        "Student t": seed_bounds(values),
        "percentile bootstrap": (low, high),
        "basic bootstrap": (2 * mean - high, 2 * mean - low),
        "BCa bootstrap": _bca(again, mean, acceleration),
        "bootstrap-t": two_sided,
        "symmetric bootstrap-t": symmetric,
        "Johnson's t": johnson,
        "Hall's t": hall,
        "sign-flip inversion": _sign_flip(values),
    }


def image_candidates(base, arm, weights):
    """name -> (low, high) of all candidates on areas [2, n, C] and bootstrap weights [R, n]."""
    images, columns = base.shape[1], base.shape[2]
    areas = np.concatenate([base[0], base[1], arm[0], arm[1]], axis=1)

    def difference(sums):
        base_i, base_u, arm_i, arm_u = (sums[:, at * columns : (at + 1) * columns] for at in range(4))
        return (arm_i / (arm_u + EPSILON) - base_i / (base_u + EPSILON)).mean(axis=1)

    total = areas.sum(axis=0, keepdims=True)
    observed = difference(total)[0]
    left_out = difference(total - areas)
    again = np.concatenate([difference(weights[at : at + BLOCK] @ areas) for at in range(0, len(weights), BLOCK)])
    low, high = np.quantile(again, TAILS)
    off = left_out.mean() - left_out
    error = np.sqrt((images - 1) / images * (off**2).sum())
    acceleration = (off**3).sum() / (6 * max((off**2).sum(), 1e-30) ** 1.5)
    bca = _bca(again[None], np.array([observed]), np.array([acceleration]))
    half = stats.t.ppf(TAILS[1], images - 1) * error
    chosen = interval_from_areas(base, arm, weights)
    point, linear_error, ratios = studentised(base, arm, weights)
    ratio_low, ratio_high = np.quantile(ratios, TAILS)
    return {
        "symmetric bootstrap-t": (chosen.low, chosen.high),
        "bootstrap-t": (point - ratio_high * linear_error, point - ratio_low * linear_error),
        "percentile bootstrap": (low, high),
        "basic bootstrap": (2 * observed - high, 2 * observed - low),
        "BCa bootstrap": (bca[0][0], bca[1][0]),
        "jackknife t": (observed - half, observed + half),
    }
