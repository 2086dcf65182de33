"""The lab's statistics against scipy, against the definitions spelled out, and on input that has no answer."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from catalyst_cityscapes.lab.statistics import (
    Interval,
    holm,
    image_interval,
    paired_t_test,
    seed_bounds,
    seed_interval,
    sign_flip_test,
    smallest_effect,
    smallest_sign_flip_p,
)
from catalyst_cityscapes.lab.statistics.image_bootstrap import interval_from_areas, studentised
from semseg_ref.metric import areas_from_matrix, scores_from_areas


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_and_p_value_are_scipy_s_one_sample_t(seeds: int, confidence: float) -> None:
    values = np.random.default_rng(seeds).normal(0.01, 0.02, seeds)
    scipy_s = stats.ttest_1samp(values, 0.0)
    ends = scipy_s.confidence_interval(confidence)
    found = seed_interval(values, confidence)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-12)
    assert float(paired_t_test(values)) == pytest.approx(scipy_s.pvalue, rel=1e-12)


def test_p_value_and_interval_say_the_same_in_every_row() -> None:
    values = np.random.default_rng(0).normal(0.5, 1.0, (500, 5))
    low, high = seed_bounds(values)
    outside = (low > 0) | (high < 0)
    assert 0 < outside.sum() < 500
    assert np.array_equal(outside, paired_t_test(values) < 0.05)


def test_differences_without_scatter_have_an_interval_of_no_width() -> None:
    assert seed_interval(np.full(6, 0.1)) == Interval(0.1, 0.1)
    assert paired_t_test(np.full(6, 0.1)) == 2 / 64
    assert paired_t_test(np.zeros(6)) == 1


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
def test_sign_flip_is_scipy_s_paired_permutation_test(seeds: int) -> None:
    values = np.random.default_rng(seeds).exponential(1.0, seeds) - 0.3
    scipy_s = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(values) == pytest.approx(scipy_s.pvalue, abs=1e-12)


def test_sign_flip_counts_every_choice_of_signs_once_and_ties_as_reached() -> None:
    values = np.array([0.3, 0.1, 0.2, -0.1, 0.3])
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in itertools.product((1, -1), repeat=5)
    ]
    assert sign_flip_test(values) == sum(total > 0.8 - 1e-9 for total in sums) / 32
    assert sign_flip_test(-values) == sign_flip_test(values)
    assert sign_flip_test(np.zeros(4)) == 1
    rows = np.random.default_rng(0).normal(size=(7, 3, 6))
    assert np.array_equal(sign_flip_test(rows)[4, 2], sign_flip_test(rows[4, 2]))


@pytest.mark.parametrize("seeds", [1, 3, 5, 6, 10])
def test_the_smallest_sign_flip_p_is_reached_and_not_undercut(seeds: int) -> None:
    assert sign_flip_test(np.arange(1.0, seeds + 1)) == smallest_sign_flip_p(seeds) == min(1, 2 / 2**seeds)


def test_above_twenty_seeds_flips_are_sampled_near_the_t_test() -> None:
    values = np.random.default_rng(3).normal(0.45, 1.0, 24)
    assert sign_flip_test(values) == pytest.approx(float(paired_t_test(values)), abs=0.01)
    assert sign_flip_test(values) == sign_flip_test(values)
    assert sign_flip_test(np.full(24, 1.0)) == 1 / 100_001


def test_holm_by_hand_in_any_order() -> None:
    p = np.array([0.04, 0.01, 0.03, 0.005])
    expected = np.array([0.06, 0.03, 0.06, 0.02])
    assert holm(p) == pytest.approx(expected)
    for order in itertools.permutations(range(4)):
        assert holm(p[list(order)]) == pytest.approx(expected[list(order)])
    assert holm(np.array([0.9, 0.8])).max() == 1
    assert holm(np.array([])).shape == (0,)


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        p = rng.uniform(0, 1, 8) ** 3
        rejected = np.zeros(8, bool)
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > 0.05 / (8 - rank):
                break
            rejected[index] = True
        assert np.array_equal(holm(p) <= 0.05, rejected)


def test_smallest_effect_inverts_the_power_of_the_t_test() -> None:
    for seeds, power in ((2, 0.8), (3, 0.8), (6, 0.5), (10, 0.95)):
        effect = smallest_effect(seeds, 0.02, power)
        critical = stats.t.ppf(0.975, seeds - 1)
        assert stats.nct.sf(critical, seeds - 1, effect / 0.02 * math.sqrt(seeds)) == pytest.approx(power, abs=1e-6)
    assert smallest_effect(6, 0.0) == 0
    assert smallest_effect(6, 2.0) == pytest.approx(2 * smallest_effect(6, 1.0))
    # Cohen's tables, d for power 0.8 at 0.05 two-sided: about 1 for 10 pairs.
    assert smallest_effect(10, 1.0) == pytest.approx(1.0, abs=0.01)


def confusion(rng: np.random.Generator, images: int, classes: int, runs: int = 2) -> np.ndarray:
    """Matrices int64 [runs, n, K, K]; the last class is in few images."""
    matrices = rng.integers(0, 300, (runs, images, classes, classes))
    matrices += np.eye(classes, dtype=int) * rng.integers(500, 3000, (runs, images, classes, 1))
    rare = rng.random(images) > 0.1
    matrices[:, rare, -1, :] = 0
    matrices[:, rare, :, -1] = 0
    return matrices


def miou(matrices: np.ndarray) -> float:
    return scores_from_areas(*areas_from_matrix(matrices.sum(axis=0))).mIoU


def areas_of(runs: np.ndarray) -> np.ndarray:
    """Areas of intersection and union, float64 [2, n, runs * K], one image after the other."""
    parts = [np.array([areas_from_matrix(matrix)[:2] for matrix in run]) for run in runs]
    return np.concatenate([part.transpose(1, 0, 2) for part in parts], axis=2).astype(float)


def test_resamples_are_scored_by_the_reference_s_metric_absent_classes_included() -> None:
    rng = np.random.default_rng(0)
    base, arm = confusion(rng, 12, 5), confusion(rng, 12, 5)
    weights = rng.multinomial(12, np.full(12, 1 / 12), size=40).astype(float)
    absent = (weights @ (base[0, :, -1, -1] > 0)) == 0
    assert 0 < absent.sum() < 40

    observed, error, ratios = studentised(areas_of(base), areas_of(arm), weights)
    differences = [
        np.mean([miou(np.repeat(a, w, axis=0)) - miou(np.repeat(b, w, axis=0)) for b, a in zip(base, arm, strict=True)])
        for w in weights.astype(int)
    ]
    assert observed == pytest.approx(np.mean([miou(a) - miou(b) for b, a in zip(base, arm, strict=True)]), abs=1e-14)
    # ratio = (resampled - observed) / error of the resample, which is the error of the resampled images themselves.
    for weight, difference, ratio in zip(weights[:10], differences, ratios, strict=False):
        chosen = np.repeat(np.arange(12), weight.astype(int))
        _, own_error, _ = studentised(areas_of(base[:, chosen]), areas_of(arm[:, chosen]), weights[:1])
        assert ratio == pytest.approx((difference - observed) / own_error, rel=1e-9, abs=1e-12)
    assert error > 0


def test_the_linear_error_is_near_the_jackknife_s_and_scipy_s_bootstrap_s() -> None:
    rng = np.random.default_rng(1)
    base = confusion(rng, 200, 4, runs=1)
    arm = confusion(rng, 200, 4, runs=1)

    def difference(index, axis=-1):
        if index.ndim == 1:
            return miou(arm[0][index.astype(int)]) - miou(base[0][index.astype(int)])
        return np.array([difference(row) for row in index])

    scipy_s = stats.bootstrap(
        (np.arange(200),), difference, n_resamples=800, method="basic", rng=np.random.default_rng(0)
    )
    found = image_interval(base, arm)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * scipy_s.standard_error, rel=0.12)
    left_out = np.array([difference(np.delete(np.arange(200), i)) for i in range(200)])
    jackknife = math.sqrt(199 / 200 * ((left_out - left_out.mean()) ** 2).sum())
    areas = [
        np.array([areas_from_matrix(m)[:2] for m in run[0]]).transpose(1, 0, 2).astype(float) for run in (base, arm)
    ]
    _, error, _ = studentised(*areas, np.ones((1, 200)))
    assert error == pytest.approx(jackknife, rel=0.05)


def test_image_interval_is_seeded_symmetric_and_wider_with_confidence() -> None:
    rng = np.random.default_rng(2)
    base, arm = confusion(rng, 50, 4), confusion(rng, 50, 4)
    found = image_interval(base, arm)
    assert found == image_interval(list(base), list(arm))
    assert found != image_interval(base, arm, seed=1)
    middle = np.mean([miou(a) - miou(b) for b, a in zip(base, arm, strict=True)])
    assert (found.low + found.high) / 2 == pytest.approx(middle, abs=1e-12)
    turned = image_interval(arm, base)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-12)
    wide = image_interval(base, arm, confidence=0.99)
    assert wide.low < found.low < found.high < wide.high


def test_equal_arms_have_an_image_interval_of_exactly_nothing() -> None:
    base = confusion(np.random.default_rng(3), 30, 4)
    assert image_interval(base, base.copy()) == Interval(0.0, 0.0)
    empty = np.zeros((1, 5, 3, 3), np.int64)
    assert image_interval(empty, empty) == Interval(0.0, 0.0)


def test_two_images_still_give_finite_ends() -> None:
    rng = np.random.default_rng(4)
    found = image_interval(confusion(rng, 2, 3), confusion(rng, 2, 3))
    json.dumps([found.low, found.high], allow_nan=False)


@pytest.mark.parametrize(
    "call",
    [
        lambda: seed_interval(np.array([0.1])),
        lambda: seed_interval(np.array([0.1, np.nan])),
        lambda: seed_interval(np.array([0.1, 0.2]), confidence=1.0),
        lambda: paired_t_test(np.float64(1.0)),
        lambda: sign_flip_test(np.array([])),
        lambda: sign_flip_test(np.array([np.inf, 1.0])),
        lambda: holm(np.array([0.1, 1.2])),
        lambda: holm(np.array([0.1, np.nan])),
        lambda: holm(np.ones((2, 2))),
        lambda: smallest_effect(1, 0.1),
        lambda: smallest_effect(3, -0.1),
        lambda: smallest_effect(3, 0.1, power=1.0),
        lambda: smallest_effect(3, 0.1, power=0.2, confidence=0.5),
        lambda: image_interval([], []),
        lambda: image_interval(np.ones((1, 4, 3, 3)), np.ones((2, 4, 3, 3))),
        lambda: image_interval(np.ones((1, 4, 3, 3)), np.ones((1, 5, 3, 3))),
        lambda: image_interval(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))),
        lambda: image_interval(np.ones((1, 4, 3, 2)), np.ones((1, 4, 3, 2))),
        lambda: image_interval(np.ones((1, 4, 3, 3)), np.ones((1, 4, 3, 3)), resamples=0),
    ],
)
def test_input_without_an_answer_is_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected|not finite"):
        call()


def test_interval_from_areas_is_the_symmetric_quantile() -> None:
    rng = np.random.default_rng(5)
    base, arm = (rng.uniform(1, 2, (2, 30, 3)) * np.array([1, 4])[:, None, None] for _ in range(2))
    weights = rng.multinomial(30, np.full(30, 1 / 30), size=300).astype(float)
    observed, error, ratios = studentised(base, arm, weights)
    found = interval_from_areas(base, arm, weights)
    half = np.quantile(np.abs(ratios), 0.95) * error
    assert (found.low, found.high) == (observed - half, observed + half)
