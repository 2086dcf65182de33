"""The two schedules of mmsegmentation 1.x's Cityscapes recipes."""

from catalyst_cityscapes.schedules.phases import LinearWarmup, Poly, rate_at
from semseg_ref.base.errors import OptionError, did_you_mean

KINDS = ("sgd", "adamw")


def mmseg_rate(
    t: int, base: float, total: int, kind: str, warmup: int = 1500, power: float = 0.9, floor: float = 1e-4
) -> float:
    """Rate of an optimiser step; the closed form of what mmsegmentation computes from step to step.

    Args:
        t: step, counted from 0.
        base: the group's own rate, with its multiplier: the floor is the same for every group.
        total: steps of the training.
        kind: `sgd`: poly of `power` to `floor`, no warm-up. `adamw`: linear warm-up from 1e-6 of the rate over
            `warmup` steps, then linearly to 0. What follows an underscore (`sgd_80k`) is a remark.
        warmup: steps; of `adamw` alone.
        power: exponent; of `sgd` alone.
        floor: last rate; of `sgd` alone.

    Raises:
        OptionError: another kind, or a step outside 0..total.
    """
    kind = kind.partition("_")[0]
    if kind not in KINDS:
        raise OptionError(f"mmseg_rate: kind: {kind!r}{did_you_mean(kind, KINDS)}")
    if not 0 <= t <= total:
        raise OptionError(f"mmseg_rate: t: {t}, expected 0..total, {total}")
    if kind == "sgd":
        phases = [Poly(power=power, floor=floor, reaches_end=True)]
    else:
        warming_up = [LinearWarmup(iterations=warmup, factor=1e-6, reaches_end=True)] if warmup else []
        phases = [*warming_up, Poly(power=1.0, reaches_end=True)]
    return rate_at(phases, base, t, total, steps_per_epoch=1)
