"""Sign-flip test of paired differences: no assumption on the noise but that both arms' runs scatter alike."""

import itertools

import numpy as np

MOST_ENUMERATED = 20
SAMPLED_FLIPS = 100_000


def sign_flip_test(differences: np.ndarray) -> np.ndarray | float:
    """Two-sided p-value: the share of all 2^S choices of signs with a sum at least as far from 0 as the observed one.

    Exact if, without an effect, base and arm could be exchanged within a seed. The observed signs count themselves, so
    the smallest p-value is 2 / 2^S: 0.25 for 3 seeds, 0.0625 for 5, 0.031 for 6. Above 20 differences, 100 000 random
    choices (seeded) stand for all.

    scipy's `permutation_test` gives the same p-value except where sums tie up to rounding: its tolerance is relative to
    the sum, which may be near 0, and not to the differences. It takes 60 times as long over many rows.

    Source: Fisher, The Design of Experiments (1935), section 21.

    Args:
        differences: arm - base of each seed, float [..., S], S >= 1.

    Returns:
        p-values in 0..1: a float for a vector, else float64 [...].

    Raises:
        ValueError: no differences, or values that are not finite.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"differences of shape {values.shape}: expected one or more along the last axis")
    if not np.isfinite(values).all():
        raise ValueError("differences hold values that are not finite")
    seeds = values.shape[-1]
    observed = np.abs(values.sum(axis=-1))
    # Equal sums differ in their last bits with the order of the signs.
    reached = observed - 1e-12 * np.abs(values).sum(axis=-1)
    if seeds <= MOST_ENUMERATED:
        # The first sign stays: turning all signs leaves the distance from 0 as it is.
        signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=seeds - 1)], np.float64)
        as_far = np.abs(values @ signs.T) >= reached[..., None]
        p = as_far.mean(axis=-1)
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (SAMPLED_FLIPS, seeds))
        as_far = np.abs(values @ signs.T) >= reached[..., None]
        p = (1 + as_far.sum(axis=-1)) / (1 + SAMPLED_FLIPS)
    return float(p) if p.ndim == 0 else p


def smallest_sign_flip_p(seeds: int) -> float:
    """The smallest p-value that the test can reach with so many seeds, 2 / 2^seeds (at most 1)."""
    return min(1.0, 2.0 / 2.0**seeds)
