"""Intervals and tests on simulated labs with a known truth: what a nominal 95 % is worth.

Two to ten thousand seeded experiments each; benchmarks/statistics_coverage.py has more, and the other candidates.
"""

import numpy as np
import pytest

from catalyst_cityscapes.lab.statistics import (
    holm,
    paired_t_test,
    seed_bounds,
    seed_interval,
    sign_flip_test,
    smallest_effect,
)
from catalyst_cityscapes.lab.statistics.image_bootstrap import interval_from_areas
from simulation import class_differences, draws, image_world, seed_differences

SEEDS = (3, 6, 10)
ALIKE = ("normal", "exponential", "lognormal")
EXPERIMENTS = 10_000


def coverage(low: np.ndarray, high: np.ndarray, truth: float = 0.0) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("noise", ALIKE)
def test_the_interval_over_seeds_covers_93_to_97_percent(noise: str, seeds: int) -> None:
    values = 0.7 + seed_differences(np.random.default_rng([1, seeds]), (EXPERIMENTS, seeds), noise, noise)
    assert 0.93 <= coverage(*seed_bounds(values), truth=0.7) <= 0.97


@pytest.mark.parametrize("seeds", SEEDS)
def test_it_covers_as_much_where_the_differences_are_skewed_themselves(seeds: int) -> None:
    values = seed_differences(np.random.default_rng([2, seeds]), (EXPERIMENTS, seeds), "normal", "gamma 4", np.inf)
    assert 0.93 <= coverage(*seed_bounds(values)) <= 0.97


@pytest.mark.parametrize("seeds", SEEDS)
def test_where_only_the_arm_scatters_and_very_skewed_it_covers_less_as_the_documentation_says(seeds: int) -> None:
    values = seed_differences(np.random.default_rng([3, seeds]), (EXPERIMENTS, seeds), "normal", "exponential", np.inf)
    assert 0.86 <= coverage(*seed_bounds(values)) < 0.93


def test_one_interval_at_a_time_is_the_same_interval() -> None:
    values = seed_differences(np.random.default_rng(4), (2000, 3))
    found = [seed_interval(row) for row in values]
    low, high = seed_bounds(values)
    assert np.array_equal([interval.low for interval in found], low)
    assert np.array_equal([interval.high for interval in found], high)


def test_the_percentile_bootstrap_fails_at_three_seeds() -> None:
    rng = np.random.default_rng(5)
    values = seed_differences(rng, (2000, 3))
    again = values @ draws(rng, 500, 3).T / 3
    assert coverage(*np.quantile(again, [0.025, 0.975], axis=1)) < 0.93


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("noise", ALIKE)
def test_false_positives_stay_below_6_percent(noise: str, seeds: int) -> None:
    values = seed_differences(np.random.default_rng([6, seeds]), (EXPERIMENTS, seeds), noise, noise)
    by_signs, by_t = sign_flip_test(values) <= 0.05, paired_t_test(values) <= 0.05
    assert by_signs.mean() <= 0.06
    assert by_t.mean() <= 0.06
    assert (by_signs & by_t).mean() <= 0.05
    if seeds == 3:
        assert not by_signs.any()
    else:
        assert by_signs.mean() > 0.02


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("noise", ALIKE)
def test_holm_keeps_the_family_of_19_classes_at_5_percent(noise: str, seeds: int) -> None:
    rng = np.random.default_rng([7, seeds])
    values = class_differences(rng, 4000, seeds, noise)
    p = paired_t_test(values)
    assert np.mean([(holm(row) <= 0.05).any() for row in p]) <= 0.06
    assert (p <= 0.05).any(axis=1).mean() > 0.3
    values[:, :3] += 4 * np.sqrt(2)
    p = paired_t_test(values)
    called = np.array([holm(row) <= 0.05 for row in p])
    assert called[:, 3:].any(axis=1).mean() <= 0.06
    assert called[:, :3].mean() > {3: 0.05, 6: 0.8, 10: 0.95}[seeds]


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_smallest_effect_is_found_in_80_percent_of_labs(seeds: int) -> None:
    effect = smallest_effect(seeds, np.sqrt(2))
    rng = np.random.default_rng([8, seeds])
    low, _ = seed_bounds(effect + seed_differences(rng, (EXPERIMENTS, seeds)))
    assert 0.78 <= (low > 0).mean() <= 0.82
    low, _ = seed_bounds(effect / 2 + seed_differences(rng, (EXPERIMENTS, seeds)))
    assert (low > 0).mean() < 0.5


def image_coverage(images: int, seed: int, experiments: int = 2000, pool: int = 10_000, **world) -> float:
    found = image_world(seed, pool=pool, **world)
    rng = np.random.default_rng([9, images, seed])
    hits = 0
    for turn in range(experiments):
        if turn % 25 == 0:
            weights = draws(rng, 399, images)
        chosen = rng.integers(0, pool, images)
        interval = interval_from_areas(found.base[:, chosen], found.arm[:, chosen], weights)
        hits += interval.low <= found.truth <= interval.high
    return hits / experiments


@pytest.mark.slow
@pytest.mark.parametrize("images", [100, 500])
@pytest.mark.parametrize(("seed", "world"), [(0, {}), (1, {"rarer": 3.0, "effect": 0.3})])
def test_the_interval_over_images_covers_93_to_97_percent(images: int, seed: int, world: dict) -> None:
    assert 0.93 <= image_coverage(images, seed, **world) <= 0.97
