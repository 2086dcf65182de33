"""Learning rates as pure functions of the 0-based optimiser step within a phase; `phases` puts them in a row.

Every function takes the rate that the phase starts from. Steps beyond the phase's length have its last rate.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence


def progress(step: int, length: int, reaches_end: bool) -> float:
    """How much of a phase is behind a step: 0 at step 0, at most 1.

    Args:
        step: counted from 0 within the phase.
        length: steps of the phase.
        reaches_end: the last step, `length - 1`, is at 1 (`step / (length - 1)`, mmsegmentation 1.x); otherwise the
            first one after it is (`step / length`, the reference, mmsegmentation 0.x, torch).
    """
    whole = length - 1 if reaches_end else length
    return min(float(step) / whole, 1.0) if whole > 0 else float(step > 0)


def poly(
    start: float, step: int, length: int, power: float = 0.9, floor: float = 0.0, reaches_end: bool = False
) -> float:
    """`floor + (start - floor) * (1 - progress) ** power`; without a floor the bits of `poly_learning_rate`.

    Source: the reference's `poly_learning_rate`; mmsegmentation's PolyLR, where `floor` is `eta_min`.
    """
    return floor + (start - floor) * (1 - progress(step, length, reaches_end)) ** power


def linear_warmup(start: float, step: int, length: int, factor: float, reaches_end: bool = False) -> float:
    """From `factor * start` linearly to `start`."""
    return start * (factor + (1 - factor) * progress(step, length, reaches_end))


def cosine(start: float, step: int, length: int, floor: float = 0.0, reaches_end: bool = False) -> float:
    """Half a cosine from `start` to `floor`: Loshchilov and Hutter 2017 (arXiv 1608.03983), without restarts."""
    return floor + (start - floor) * (1 + math.cos(math.pi * progress(step, length, reaches_end))) / 2


def exponential(start: float, count: int, gamma: float) -> float:
    """`start * gamma ** count`; `count` epochs or steps are done."""
    return start * gamma**count


def step_decay(start: float, count: int, milestones: Sequence[int], gamma: float = 0.1) -> float:
    """`start`, times `gamma` from each milestone on that `count` (epochs or steps done) has come to.

    Args:
        start: rate before the first milestone.
        count: epochs or steps done.
        milestones: ascending.
        gamma: factor.
    """
    return start * gamma ** bisect_right(milestones, count)
