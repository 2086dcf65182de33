"""The two schedules of mmsegmentation's Cityscapes recipes, as 1.x and as 0.x compute them."""

from catalyst_cityscapes.schedules.phases import LinearWarmup, Poly, rate_at
from semseg_ref.base.errors import OptionError, did_you_mean

KINDS = ("sgd", "adamw", "sgd_0x", "adamw_0x")


def mmseg_rate(
    t: int, base: float, total: int, kind: str, warmup: int = 1500, power: float = 0.9, floor: float = 1e-4
) -> float:
    """Rate of an optimiser step; the closed form of what mmsegmentation computes from step to step.

    Args:
        t: step, counted from 0.
        base: the group's own rate, with its multiplier: the floor is the same for every group.
        total: steps of the training.
        kind: `sgd`: poly of `power` to `floor`, no warm-up. `adamw`: linear warm-up from 1e-6 of the rate over
            `warmup` steps, then linearly to 0. `sgd_0x`, `adamw_0x`: as 0.x, whose end lies one step behind the last
            one and whose warm-up scales a rate that decays from the first step on. Anything else after an underscore
            (`sgd_80k`) is a remark.
        warmup: steps; of `adamw` alone.
        power: exponent; of `sgd` alone.
        floor: last rate; of `sgd` alone.

    Raises:
        OptionError: another kind, or a step outside 0..total.
    """
    family, *remarks = str(kind).split("_")
    is_old = not {"0x", "0.x"}.isdisjoint(remarks)
    if family not in KINDS:
        raise OptionError(f"mmseg_rate: kind: {kind!r}{did_you_mean(kind, KINDS)}")
    if not 0 <= t <= total:
        raise OptionError(f"mmseg_rate: t: {t}, expected 0..total, {total}")
    if family == "sgd":
        phases = [Poly(power=power, floor=floor, reaches_end=not is_old)]
    else:
        warm_up = LinearWarmup(iterations=warmup, factor=1e-6, reaches_end=not is_old, over_next=is_old)
        phases = [*([warm_up] if warmup else []), Poly(power=1.0, reaches_end=not is_old)]
    return rate_at(phases, base, t, total, steps_per_epoch=1)
