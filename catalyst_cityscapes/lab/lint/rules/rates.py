"""Rules about learning rates, measured on the real optimiser and schedule over the whole training."""

import math
from collections.abc import Iterator

import numpy as np

from catalyst_cityscapes.lab.lint.facts import Facts
from catalyst_cityscapes.lab.lint.finding import Diagnostic, Rule
from catalyst_cityscapes.lab.lint.issues import FOUNDING, SHIPPED_CONFIG, SMALL_BATCH
from catalyst_cityscapes.lab.lint.rules.decay import is_alike
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, HEADS

CURVE = 0.01
"""Mean distance from the poly curve, as a share of the highest rate, from which on it is another schedule."""


def _curve(facts: Facts) -> np.ndarray:
    """Rate of the backbone (or of all there is) at each step over its highest, float64 [steps]; empty without."""
    if facts.optimisation is None:
        return np.empty(0)
    rates = facts.optimisation.lr(BACKBONE)
    rates = rates if rates.size else facts.optimisation.lr(HEADS)
    return rates / rates.max() if rates.size and rates.max() > 0 else np.empty(0)


def _is_constant(curve: np.ndarray) -> bool:
    return bool(curve.min() > 0.99)


def _ratio(facts: Facts) -> np.ndarray:
    if facts.optimisation is None:
        return np.empty(0)
    backbone, heads = facts.optimisation.lr(BACKBONE), facts.optimisation.lr(HEADS)
    if not backbone.size or not heads.size:
        return np.empty(0)
    used = backbone > 0
    return heads[used] / backbone[used]


def _overwritten(facts: Facts) -> Iterator[Diagnostic]:
    if facts.optimisation is None:
        return
    groups = [g for g in facts.optimisation.groups if math.isfinite(g.defined_lr) and g.defined_lr > 0]
    if len(groups) < 2:
        return
    lowest, highest = (f(groups, key=lambda g: g.defined_lr) for f in (min, max))
    defined = highest.defined_lr / lowest.defined_lr
    used = highest.lr > 0
    measured = float(np.median(highest.lr[used] / np.maximum(lowest.lr[used], 1e-300))) if used.any() else 1.0
    if defined > 1.05 and abs(measured / defined - 1) > 0.05:
        yield Diagnostic(
            "error",
            f"groups '{lowest.name}' and '{highest.name}' are defined {defined:.3g} times apart "
            f"({lowest.defined_lr:.3g}, {highest.defined_lr:.3g}); the schedule makes it {measured:.3g} times",
            {"defined": defined, "measured": measured},
        )


def _head_rate(facts: Facts) -> Iterator[Diagnostic]:
    ratio, wanted = _ratio(facts), facts.reference.head_multiplier
    if ratio.size and abs(np.median(ratio) / wanted - 1) > 0.05:
        heads, backbone = (facts.optimisation.lr(part).max() for part in (HEADS, BACKBONE))
        yield Diagnostic(
            "warning",
            f"the heads train at {np.median(ratio):.3g} times the backbone's rate (at most {heads:.3g} and "
            f"{backbone:.3g}); {facts.reference.called} {wanted:g} times",
            {"ratio": float(np.median(ratio)), "heads": float(heads), "backbone": float(backbone)},
        )


def _rate_changes(facts: Facts) -> Iterator[Diagnostic]:
    ratio = _ratio(facts)
    if ratio.size and np.ptp(ratio) > 0.05 * np.median(ratio):
        yield Diagnostic(
            "warning",
            f"the ratio of the heads' to the backbone's rate moves from {ratio[0]:.3g} to {ratio[-1]:.3g} "
            "during training",
            {"first": float(ratio[0]), "last": float(ratio[-1])},
        )


def _base_rate(facts: Facts) -> Iterator[Diagnostic]:
    if facts.optimisation is None or not is_alike(facts):
        return
    rates = facts.optimisation.lr(BACKBONE)
    if rates.size and abs(rates.max() / facts.reference.lr - 1) > 0.05:
        yield Diagnostic(
            "warning",
            f"the backbone's highest rate is {rates.max():.3g}, {facts.reference.called} {facts.reference.lr:g}",
            {"lr": float(rates.max())},
        )


def _per_image(facts: Facts) -> Iterator[Diagnostic]:
    if facts.optimisation is None or facts.exposure is None or not is_alike(facts):
        return
    rates, batch, wanted = facts.optimisation.lr(BACKBONE), facts.exposure.batch, facts.reference
    if not rates.size or not rates.max():
        return
    factor = (rates.max() / batch) / (wanted.lr / wanted.batch)
    if not 1 / 1.6 < factor < 1.6:
        yield Diagnostic(
            "warning",
            f"rate {rates.max():.3g} at {batch} images a step is {factor:.2f} times {wanted.owned} rate an image "
            f"({wanted.lr:g} at {wanted.batch})",
            {"lr": float(rates.max()), "batch": batch, "factor": float(factor)},
            f"optimizer.lr: {wanted.lr * batch / wanted.batch:.3g} keeps {wanted.owned} rate an image, or batch_size: "
            f"{wanted.batch}",
        )


def _constant(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size > 1 and _is_constant(curve):
        yield Diagnostic("error", f"the rate is the same in all {curve.size} steps", {"steps": curve.size})


def _zero(facts: Facts) -> Iterator[Diagnostic]:
    if facts.optimisation is None:
        return
    for part in (BACKBONE, HEADS):
        rates = facts.optimisation.lr(part)
        if rates.size and rates.max() == 0:
            yield Diagnostic("error", f"the rate of the {part} is 0 in all {rates.size} steps", {"part": part})


def _warm_up(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size and curve[0] < 0.95:
        peak = int(np.argmax(curve > 0.999))
        yield Diagnostic(
            "warning",
            f"the first step has {curve[0]:.3g} of the highest rate, reached at step {peak} of {curve.size}; the "
            "official training starts undecayed",
            {"first": float(curve[0]), "peak": peak, "steps": curve.size},
        )


def _end(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size < 2 or _is_constant(curve):
        return
    expected = float(facts.reference.curve(curve.size)[-1])
    if curve[-1] > max(3 * expected, 0.002):
        yield Diagnostic(
            "warning",
            f"the last step still has {curve[-1]:.3g} of the highest rate, official {expected:.2g}: the schedule is "
            "longer than the training, or ends above 0",
            {"last": float(curve[-1]), "official": expected},
        )


def _flat_end(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size < 4 or _is_constant(curve):
        return
    same = np.abs(curve - curve[-1]) <= 1e-9
    flat = int(np.argmax(~same[::-1]))
    if flat >= max(3, 0.002 * curve.size) and curve[-1] > 0:
        yield Diagnostic(
            "warning",
            f"the last {flat} of {curve.size} steps all have {curve[-1]:.3g} of the highest rate: the schedule ends "
            "before the training",
            {"steps": flat, "rate": float(curve[-1])},
        )


def _idle(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size < 4:
        return
    idle = float((curve < 1e-6).mean())
    if idle > 0.01:
        yield Diagnostic(
            "error",
            f"the rate is 0 in {idle:.0%} of the {curve.size} steps: nothing is learned there, the schedule "
            "runs too fast",
            {"share": idle},
        )


def _rises(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size < 4 or _is_constant(curve):
        return
    after = curve[int(curve.argmax()) :]
    rises = int((np.diff(after) > 1e-6).sum())
    if rises:
        yield Diagnostic(
            "warning",
            f"after its peak the rate rises again in {rises} of {after.size} steps",
            {"rises": rises},
        )


def _unlike_poly(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if curve.size < 2 or _is_constant(curve):
        return
    distance = np.abs(curve - facts.reference.curve(curve.size))
    if distance.mean() > CURVE:
        yield Diagnostic(
            "warning",
            f"the rate is {distance.mean():.1%} of its highest away from poly {facts.reference.power:g} on average, "
            f"at most {distance.max():.1%} (step {int(distance.argmax())} of {curve.size})",
            {"mean": float(distance.mean()), "most": float(distance.max())},
        )


def _steps_in_epochs(facts: Facts) -> Iterator[Diagnostic]:
    curve = _curve(facts)
    if facts.optimisation is None or curve.size < 8 or _is_constant(curve):
        return
    inside = facts.optimisation.steps_per_epoch
    if inside < 2:
        return
    changes = np.abs(np.diff(curve)) > 1e-12
    within = [bool(changes[i]) for i in range(changes.size) if (i + 1) % inside]
    if not any(within):
        yield Diagnostic(
            "warning",
            f"the rate changes only between epochs, every {inside} steps; the official schedule changes it every step",
            {"steps_per_epoch": inside},
        )


CURVES = "the real optimiser and schedule callbacks, run over every step without a network"
POLY = "callbacks.poly_lr: catalyst_cityscapes.callbacks.PolyLR with base_lr: ${optimizer.lr}, power: 0.9"

RULES = (
    Rule(
        "group-rates-overwritten",
        ("error",),
        "own words",
        CURVES,
        f"use a schedule that multiplies each group's own rate: {POLY}",
        _overwritten,
        (FOUNDING,),
    ),
    Rule(
        "head-rate",
        ("warning",),
        "official recipe",
        CURVES,
        "optimizer.groups: catalyst_cityscapes.optim.reference_groups with head_multiplier: 10",
        _head_rate,
        (FOUNDING,),
        sgd=True,
        official_fix=True,
    ),
    Rule(
        "head-rate-changes",
        ("warning",),
        "official recipe",
        CURVES,
        f"one schedule for all groups: {POLY}",
        _rate_changes,
        official_fix=True,
    ),
    Rule(
        "base-rate",
        ("warning",),
        "official recipe",
        CURVES,
        "optimizer.lr: 0.01 for 16 images a step",
        _base_rate,
        (SHIPPED_CONFIG,),
        sgd=True,
        official_fix=True,
    ),
    Rule(
        "rate-per-image",
        ("warning",),
        "official recipe",
        f"{CURVES}; images a step",
        "see the finding",
        _per_image,
        (SMALL_BATCH,),
        sgd=True,
    ),
    Rule(
        "rate-constant",
        ("error",),
        "official recipe",
        CURVES,
        f"add a schedule: {POLY}",
        _constant,
        official_fix=True,
    ),
    Rule("rate-zero", ("error",), "own words", CURVES, "set optimizer.lr and the groups' multipliers above 0", _zero),
    Rule(
        "warm-up",
        ("warning",),
        "official recipe",
        CURVES,
        f"start at the base rate: {POLY}",
        _warm_up,
        (FOUNDING,),
        sgd=True,
        official_only=True,
    ),
    Rule(
        "rate-ends-high",
        ("warning",),
        "official recipe",
        CURVES,
        f"let the rate fall to 0: {POLY}",
        _end,
        (FOUNDING,),
        official_only=True,
    ),
    Rule(
        "schedule-ends-early",
        ("warning",),
        "official recipe",
        CURVES,
        "give the schedule the number of steps of the whole training (an epoch counted twice is the usual cause)",
        _flat_end,
        (FOUNDING,),
    ),
    Rule(
        "rate-zero-early",
        ("error",),
        "own words",
        CURVES,
        "step the schedule once an optimiser step, not once a process or batch",
        _idle,
    ),
    Rule(
        "rate-rises",
        ("warning",),
        "official recipe",
        CURVES,
        POLY,
        _rises,
        official_fix=True,
    ),
    Rule(
        "schedule-unlike-poly",
        ("warning",),
        "official recipe",
        CURVES,
        POLY,
        _unlike_poly,
        (FOUNDING,),
        sgd=True,
        official_only=True,
    ),
    Rule("rate-changes-by-epoch", ("warning",), "official recipe", CURVES, POLY, _steps_in_epochs, official_only=True),
)
