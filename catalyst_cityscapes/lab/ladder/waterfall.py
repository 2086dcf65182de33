"""From the scores of a ladder's arms to the effect of each component, with intervals over paired seeds.

Every effect is that of having the second recipe's component instead of the first's, in mIoU:

    added      score(from with X) - score(from)
    removed    score(to) - score(to without X)
    path       score(from with all up to X) - score(from with all before X)
    total      score(to) - score(from)
    remainder  total - sum of the effects added (or removed): what only happens where components meet

The steps of the path add up to the total in each seed, whatever the interactions; their order decides how these are
shared out. The remainder is computed seed by seed before its interval is taken, since the effects of one seed share
the runs of `from` or `to`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalyst_cityscapes.lab.analysis.analysis import FEWEST_PAIRS
from catalyst_cityscapes.lab.analysis.verdict import LEVEL
from catalyst_cityscapes.lab.ladder.ladder import KIND, Roles, Rung
from catalyst_cityscapes.lab.plan.plan import PLAN_FILE
from catalyst_cityscapes.lab.results import LabResults
from catalyst_cityscapes.lab.statistics import Interval, holm, paired_t_test, seed_interval, sign_flip_test
from semseg_ref.base.errors import InputError


@dataclass(frozen=True)
class Effect:
    """A difference in mIoU (0..1) over paired seeds.

    Attributes:
        seeds: those in which all runs that it needs are finished.
        differences: one for each seed, float64 [S].
        same: both sides are one arm, since nothing that it changes can change a number.
        interval: 95 %, of the mean over other seeds; None with fewer than three seeds.
        p: of the paired t-test that belongs to the interval; None without one, or where both sides are one arm.
        p_holm: the same after Holm's correction among the components of one view.
        p_sign_flip: exact; None where p is.
    """

    seeds: tuple[int, ...]
    differences: np.ndarray
    same: bool = False
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    p_sign_flip: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None without any."""
        return float(self.differences.mean()) if self.seeds else None

    @property
    def is_shown(self) -> bool:
        """Whether the interval and the sign-flip test both say that it is not 0."""
        if self.p is None or self.p_sign_flip is None or self.interval is None:
            return False
        return self.interval.excludes_zero() and self.p_sign_flip <= LEVEL


@dataclass(frozen=True)
class Bar:
    """A component's effects; None where the design leaves one out."""

    rung: Rung
    added: Effect | None
    removed: Effect | None
    path: Effect | None


@dataclass(frozen=True)
class Waterfall:
    """What a ladder measured.

    Attributes:
        start, goal: mIoU of the two recipes, mean over `total`'s seeds; None where these are none.
        total: effect of all components together.
        bars: one for each component, in the order of the path.
        levels: mIoU after each step of the path, mean over the path's seeds, [components + 1], the first recipe's
            first; empty without path or seeds.
        remainder_added, remainder_removed: total minus the sum of the single effects; None where not designed.
    """

    start: float | None
    goal: float | None
    total: Effect
    bars: tuple[Bar, ...]
    levels: tuple[float, ...]
    remainder_added: Effect | None
    remainder_removed: Effect | None


def measure(results: LabResults) -> Waterfall:
    """The effects of a ladder's components; unfinished runs leave their seeds out.

    Raises:
        InputError: the lab is no ladder.
    """
    if results.kind != KIND:
        raise InputError(f"{results.folder}: a lab of kind '{results.kind}', not a ladder")
    try:
        roles = Roles.from_json(results.extra)
    except InputError as error:
        raise InputError(f"{results.folder / PLAN_FILE}: extra: {error}") from error
    scores = _scores(results)
    start, goal = scores.get(roles.start, {}), scores.get(roles.goal, {})
    total = _tested(_effect([(1, goal), (-1, start)], roles.start == roles.goal))
    added = [_single(scores, rung.added, roles.start) for rung in roles.rungs]
    removed = [_single(scores, roles.goal, rung.removed) for rung in roles.rungs]
    path, levels = _path(scores, roles)
    bars = tuple(
        Bar(rung, *effects)
        for rung, *effects in zip(roles.rungs, _adjusted(added), _adjusted(removed), _adjusted(path), strict=True)
    )
    seeds = set(total.seeds)
    return Waterfall(
        start=_mean(start, seeds),
        goal=_mean(goal, seeds),
        total=total,
        bars=bars,
        levels=levels,
        remainder_added=_remainder(total, added),
        remainder_removed=_remainder(total, removed),
    )


Scores = dict[int, float]
"""mIoU by seed."""


def _scores(results: LabResults) -> dict[str, Scores]:
    scores: dict[str, Scores] = {}
    for (arm, seed), run in results.runs.items():
        scores.setdefault(arm, {})[seed] = run.miou
    return scores


def _mean(scores: Scores, seeds: set[int]) -> float | None:
    return math.fsum(scores[seed] for seed in seeds) / len(seeds) if seeds else None


def _effect(terms: Sequence[tuple[int, Scores]], same: bool = False) -> Effect:
    seeds = tuple(sorted(set.intersection(*(set(scores) for _, scores in terms))))
    sums = [math.fsum(sign * scores[seed] for sign, scores in terms) for seed in seeds]
    return Effect(seeds, np.array(sums, np.float64), same)


def _single(scores: dict[str, Scores], arm: str | None, base: str | None) -> Effect | None:
    if arm is None or base is None:
        return None
    return _effect([(1, scores.get(arm, {})), (-1, scores.get(base, {}))], arm == base)


def _path(scores: dict[str, Scores], roles: Roles) -> tuple[list[Effect | None], tuple[float, ...]]:
    names = [rung.path for rung in roles.rungs]
    if None in names:
        return [None] * len(names), ()
    arms = [roles.start, *names]
    # All steps over the same seeds, or they would not add up.
    seeds = set.intersection(*(set(scores.get(arm, {})) for arm in arms))
    held = {arm: {seed: value for seed, value in scores.get(arm, {}).items() if seed in seeds} for arm in arms}
    steps: list[Effect | None] = [
        _effect([(1, held[arm]), (-1, held[before])], arm == before) for before, arm in zip(arms, names, strict=False)
    ]
    return steps, tuple(_mean(held[arm], seeds) for arm in arms) if seeds else ()


def _remainder(total: Effect, singles: Sequence[Effect | None]) -> Effect | None:
    if any(effect is None for effect in singles):
        return None
    found = [total, *singles]
    terms = [(1 if i == 0 else -1, dict(zip(e.seeds, e.differences, strict=True))) for i, e in enumerate(found)]
    return _tested(_effect(terms, len(singles) == 1))


def _tested(effect: Effect) -> Effect:
    if len(effect.seeds) < FEWEST_PAIRS:
        return effect
    interval = seed_interval(effect.differences)
    if effect.same:
        return replace(effect, interval=interval)
    p = float(paired_t_test(effect.differences))
    flip = float(sign_flip_test(effect.differences))
    return replace(effect, interval=interval, p=p, p_holm=p, p_sign_flip=flip)


def _adjusted(effects: Sequence[Effect | None]) -> list[Effect | None]:
    tested = [None if effect is None else _tested(effect) for effect in effects]
    family = [effect.p for effect in tested if effect is not None and effect.p is not None]
    corrected = iter(holm(np.array(family)))
    return [
        replace(effect, p_holm=float(next(corrected))) if effect is not None and effect.p is not None else effect
        for effect in tested
    ]
