"""How far apart two measured values are: against closed forms, scipy, and simulated equal distributions."""

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp, permutation_test, wasserstein_distance

from catalyst_cityscapes.lab.diff import distance


@pytest.mark.parametrize(
    ("a", "b", "floor", "expected"),
    [
        (0.1, 0.01, 0, 1),
        (37200, 7600, 0, math.log10(37200 / 7600)),
        (0.09, 0, 0.01, 1),
        (1, 0, 0, distance.MOST),
        (1e9, 1, 0, distance.MOST),
        (0, 0, 0, 0),
    ],
)
def test_amounts_are_decades_apart(a, b, floor, expected):
    gap = distance.amount(floor)
    assert gap(a, b).distance == pytest.approx(expected)
    assert gap(b, a) == gap(a, b)


def test_curves_of_different_lengths_are_compared_at_equal_progress():
    long, short = np.repeat([1.0, 0.1], 500), np.repeat([1.0, 0.1], 20)
    assert distance.rate_curve(long, short).distance == 0
    assert distance.rate_curve(long, 10 * short).distance == pytest.approx(1)
    half = np.array([1.0, 1.0])
    assert distance.rate_curve(long, half).distance == pytest.approx(0.5)


def test_a_rate_of_zero_is_finitely_far_away():
    assert distance.rate_curve(np.zeros(5), np.ones(5)).distance == distance.MOST
    assert distance.rate_curve(np.zeros(5), np.zeros(5)).distance == 0
    assert distance.rate_curve(np.empty(0), np.ones(5)).distance == 1


def test_momentum_counts_the_steps_that_a_gradient_lasts():
    assert distance.momentum_curve(np.full(7, 0.9), np.full(9, 0.0)).distance == pytest.approx(1)
    assert distance.momentum_curve(np.full(7, 0.9), np.full(7, 0.99)).distance == pytest.approx(1)


def test_grey_levels_in_standard_deviations_of_the_input():
    a = np.array([[100.0] * 3, [50.0] * 3])
    assert distance.grey_levels(a, a).distance == 0
    assert distance.grey_levels(a, np.array([[150.0] * 3, [50.0] * 3])).distance == pytest.approx(1)


def test_gradients():
    a = np.ones((3, 2))
    assert distance.direction(a, a).distance == 0
    assert distance.direction(a, -a).distance == pytest.approx(2)
    assert distance.direction(a, 0.5 * a).distance == pytest.approx(0.5)
    assert distance.direction(a, None).distance == 1
    assert distance.direction(a, np.ones(2)).distance == 1


def test_draws_are_wasserstein_in_standard_deviations():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, 60), rng.normal(2, 3, 60)
    gap = distance.draws(0.001)(a, b)
    assert gap.distance == pytest.approx(wasserstein_distance(a, b) / np.std([*a, *b]))
    assert gap.told_apart
    assert gap.noise < gap.distance


def test_the_order_of_the_draws_does_not_matter():
    a = np.arange(20.0)
    assert distance.draws(0.001)(a, a[::-1]) == distance.EQUAL


def test_two_single_values_are_two_apart_unless_the_difference_is_a_trifle():
    a, b = np.full(20, 0.7), np.full(20, 1.0)
    assert distance.draws(0.001)(a, b).distance == pytest.approx(2)
    assert distance.draws(0.001)(a, b).told_apart
    assert distance.draws(0.001, least_unit=3)(a, b).distance == pytest.approx(0.1)
    assert distance.draws(0.5)(a, b) == distance.EQUAL


def test_values_that_are_not_there():
    nothing, some = np.full(20, math.nan), np.arange(20.0)
    assert distance.draws(0.1)(nothing, nothing) == distance.EQUAL
    assert distance.draws(0.1)(nothing, some).distance == 1


def test_few_pairs_are_never_told_apart():
    a = np.arange(8.0)
    gap = distance.draws(0.001)(a, a + 100)
    assert gap.chance == pytest.approx(4 / 2**8)
    assert gap.distance > 1
    assert not gap.told_apart


def test_the_chance_of_all_arrangements_is_scipys():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=10), rng.normal(1.2, size=10)
    unit = np.std([*a, *b])
    how = {"permutation_type": "samples", "n_resamples": np.inf, "alternative": "greater"}
    apart = permutation_test((a, b), lambda x, y: wasserstein_distance(x, y) / unit, **how)
    shape = permutation_test((a, b), lambda x, y: ks_2samp(x, y).statistic, **how)
    gap = distance.draws(1e-6)(a, b)
    assert gap.distance == pytest.approx(apart.statistic)
    assert gap.noise == pytest.approx(np.quantile(apart.null_distribution, 1 - distance.LEVEL))
    assert gap.chance == pytest.approx(2 * min(apart.pvalue, shape.pvalue))


def test_half_of_the_values_in_one_place_is_another_shape():
    rng = np.random.default_rng(4)
    a = rng.uniform(0.5, 2, 96)
    b = np.where(rng.random(96) < 0.5, 1.0, rng.uniform(0.5, 2, 96))
    assert distance.draws(0.001)(np.log10(a), np.log10(b)).told_apart


@pytest.mark.parametrize("correlated", [False, True])
def test_equal_distributions_are_rarely_told_apart(correlated):
    rng = np.random.default_rng(11)
    gap, trials, wrong = distance.draws(0.0001), 400, 0
    for _ in range(trials):
        a = rng.uniform(0.5, 2, 24)
        b = np.where(rng.random(24) < 0.5, a, rng.uniform(0.5, 2, 24)) if correlated else rng.uniform(0.5, 2, 24)
        wrong += gap(a, b).told_apart and gap(a, b).distance > 0
    assert wrong <= 6  # 0.8 are expected at a level of 0.2 %; more than 6 has a probability below 0.0001


def test_a_small_but_systematic_difference_shows_through_the_pairs():
    a = np.random.default_rng(2).uniform(0.5, 2, 48)
    gap = distance.draws(0.0001)(a, 0.5 + (a - 0.5) * 1.05)
    assert gap.distance < 0.15
    assert gap.told_apart


def test_class_shares_are_the_pixels_that_change_class():
    a = np.tile([60, 40, 0], (20, 1))
    b = np.tile([30, 40, 30], (20, 1))
    assert distance.shares(a, b).distance == pytest.approx(0.3)
    assert distance.shares(a, b).told_apart
    assert distance.shares(a, a) == distance.EQUAL
    assert distance.shares(a, b[:, :2]).distance == 1
