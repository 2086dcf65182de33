"""Rates of single steps: against mmsegmentation's golden numbers, torch's own schedulers, and each other."""

import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from catalyst_cityscapes.schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearWarmup,
    Poly,
    Step,
    mmseg_rate,
    poly_learning_rate,
)
from catalyst_cityscapes.schedules.phases import Phase, check_phases, rate_at
from semseg_ref.base.errors import OptionError
from support.golden.inputs import load_golden

ROWS = load_golden("mmseg/lr.json")["rows"]


def rates(phases: list[Phase], base: float, total: int, steps_per_epoch: int = 1) -> list[float]:
    check_phases(phases)
    return [rate_at(phases, base, step, total, steps_per_epoch) for step in range(total)]


@pytest.mark.parametrize("row", ROWS, ids=[row["label"] for row in ROWS])
def test_mmsegmentation_s_rates(row):
    """Its numbers are computed from step to step; the closed form was measured within 7e-13 of the base rate."""
    warmup = {"warmup": 5} if row["label"] == "adamw_short" else {}
    for group, base in enumerate(row["base_lr_per_group"]):
        for t, lr in zip(row["iteration"], row["lr"], strict=True):
            found = mmseg_rate(t, base, row["max_iters"], row["label"], **warmup)
            assert found == pytest.approx(lr[group], rel=1e-9, abs=1e-12 * base)
        left = mmseg_rate(row["max_iters"], base, row["max_iters"], row["label"], **warmup)
        assert left == pytest.approx(row["lr_left_after_last_step"][group], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.01, 10, "adam"), "kind: 'adam'; did you mean 'adamw'"),
        ((0, 0.01, 10, "adam_0x"), "kind: 'adam_0x'; did you mean 'adamw_0x'"),
        ((11, 0.01, 10, "sgd"), "t: 11, expected 0..total, 10"),
    ],
)
def test_mmseg_rate_refuses(arguments, message):
    with pytest.raises(OptionError, match=message):
        mmseg_rate(*arguments)


def test_the_older_mmsegmentation():
    """0.x: poly from step 0 on that never reaches its end, scaled by the warm-up and not delayed by it."""
    phases = [LinearWarmup(iterations=4, factor=0.1, over_next=True), Poly(power=1.0, floor=1e-4)]
    expected = []
    for t in range(20):
        regular = 1e-4 + (0.01 - 1e-4) * (1 - t / 20)
        expected.append(regular * (1 - (1 - t / 4) * (1 - 0.1)) if t < 4 else regular)
    assert rates(phases, 0.01, 20) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["sgd_0x", "sgd_0.x", "adamw_0x", "adamw_160k_0x"])
def test_the_older_rates_by_name(kind):
    for t in (0, 3, 7, 19):
        if kind.startswith("sgd"):
            expected = 1e-4 + (0.01 - 1e-4) * (1 - t / 20) ** 0.9
        else:
            expected = 0.01 * (1 - t / 20) * (1 - (1 - t / 5) * (1 - 1e-6) if t < 5 else 1)
        assert mmseg_rate(t, 0.01, 20, kind, warmup=5) == pytest.approx(expected, rel=1e-12)


def test_poly_has_the_bits_of_the_reference():
    assert rates([Poly()], 0.01, 200) == [poly_learning_rate(0.01, step, 200) for step in range(200)]


def test_the_two_definitions_of_the_last_step():
    assert rates([Poly(reaches_end=True, floor=1e-4)], 0.01, 12)[-1] == 1e-4
    assert rates([Poly(floor=1e-4)], 0.01, 12)[-1] > 1e-4
    assert rates([Poly(reaches_end=True)], 0.01, 1) == [0.01]


SGD = {"lr": 0.3}


@pytest.mark.parametrize(
    ("phase", "scheduler"),
    [
        (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, 12)),
        (Cosine(floor=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 12, eta_min=0.1)),
        (Poly(power=0.9), lambda o: lr_scheduler.PolynomialLR(o, 12, power=0.9)),
        (Exponential(gamma=0.8, by="iteration"), lambda o: lr_scheduler.ExponentialLR(o, 0.8)),
        (Step(milestones=(2, 7), by="iteration"), lambda o: lr_scheduler.MultiStepLR(o, [2, 7])),
        (LinearWarmup(iterations=5, factor=0.25), lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=5)),
        (Constant(factor=0.5), lambda o: lr_scheduler.ConstantLR(o, 0.5, 100)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Phase) else "",
)
def test_a_phase_is_the_scheduler_of_torch(phase, scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **SGD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchs, expected = scheduler(optimizer), []
        for _ in range(12):
            expected.append(optimizer.param_groups[0]["lr"])
            torchs.step()
    assert rates([phase], 0.3, 12) == pytest.approx(expected, rel=1e-12)


def test_phases_that_count_epochs():
    assert rates([Exponential(gamma=0.5)], 1.0, 9, steps_per_epoch=4) == [1.0] * 4 + [0.5] * 4 + [0.25]
    assert rates([Step(milestones=(1, 2))], 1.0, 6, 2) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    warmup = [LinearWarmup(epochs=1.5, factor=0.0), Constant()]
    assert rates(warmup, 1.0, 8, 4) == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])


def test_a_phase_starts_where_the_one_before_it_ended_and_the_last_rate_stays():
    phases = [LinearWarmup(iterations=2, factor=0.5), Poly(iterations=4, power=1.0, floor=0.2), Cosine(iterations=2)]
    assert rates(phases, 1.0, 10) == pytest.approx([0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.0, 0.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: check_phases([]), "phases: expected at least one"),
        (lambda: check_phases([Poly(), Cosine()]), "phases.0: Poly has no length"),
        (lambda: check_phases([0.1]), "phases.0: expected a phase .* got a float"),
        (lambda: check_phases([LinearWarmup(epochs=1, factor=0, over_next=True)]), "there is no phase after it"),
        (lambda: LinearWarmup(factor=0.1), "iterations: expected the length of the warm-up"),
        (lambda: LinearWarmup(iterations=3, factor=2), r"factor: expected a share in 0\.\.1, got 2"),
        (lambda: Poly(iterations=3, epochs=1), "expected one of them"),
        (lambda: Poly(iterations=0), "iterations: expected a length > 0, got 0"),
        (lambda: Poly(floor=-1), "floor: expected a rate >= 0"),
        (lambda: Poly(power=0), "power: expected a number > 0"),
        (lambda: Exponential(gamma=0), "gamma: expected a number > 0"),
        (lambda: Step(milestones=(3, 2)), "milestones: expected ascending numbers"),
        (lambda: Step(milestones=(3,), by="epochs"), "by: 'epochs'; did you mean 'epoch'"),
    ],
)
def test_phases_that_cannot_be(make, message):
    with pytest.raises(OptionError, match=message):
        make()
