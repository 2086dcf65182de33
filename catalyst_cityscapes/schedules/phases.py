"""Phases of a schedule, as a recipe names them, and the rate of any step of several phases in a row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from catalyst_cityscapes.schedules import curves
from semseg_ref.base.errors import OptionError, did_you_mean

UNITS = ("epoch", "iteration")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of a training with one law for the rate; starts from the rate that the phase before it ends with.

    Attributes:
        iterations: its length in optimiser steps.
        epochs: its length in passes over the training images, in the place of `iterations`; may be a fraction. With
            neither the phase takes the rest of the training, so that only the last one may have none.

    Raises:
        OptionError: a value outside its range, or both lengths.
    """

    iterations: int | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        if self.iterations is not None and self.epochs is not None:
            raise OptionError(f"iterations: {self.iterations} and epochs: {self.epochs}: expected one of them")
        for name in ("iterations", "epochs"):
            value = getattr(self, name)
            if value is not None:
                self._require(name, 0 < value < math.inf, "a length > 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise OptionError(f"{name}: expected {expected}, got {getattr(self, name)!r}")

    def length(self, steps_per_epoch: int) -> int | None:
        """Optimiser steps, at least 1; None for the rest of the training."""
        if self.epochs is not None:
            return max(round(self.epochs * steps_per_epoch), 1)
        return self.iterations

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """Rate of a step of the phase.

        Args:
            start: rate that the phase starts from.
            step: counted from 0 within the phase; `length` gives the rate that the next phase starts from.
            length: steps of the phase.
            steps_per_epoch: optimiser steps of an epoch.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Constant(Phase):
    """`factor` times the rate that the phase starts from."""

    factor: float = 1.0

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return start * self.factor


@dataclass(frozen=True, kw_only=True)
class LinearWarmup(Phase):
    """From `factor` times the rate linearly to the rate.

    Attributes:
        factor: of the first step, in 0..1.
        reaches_end: the last step of the phase has the whole rate (mmsegmentation 1.x); otherwise the one after it.
        over_next: the phases after it start at the same step and are scaled, not delayed (mmsegmentation 0.x).
    """

    factor: float
    reaches_end: bool = False
    over_next: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("factor", 0 <= self.factor <= 1, "a share in 0..1")
        if self.iterations is None and self.epochs is None:
            raise OptionError("iterations: expected the length of the warm-up here, or in epochs")

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return curves.linear_warmup(start, step, length, self.factor, self.reaches_end)


@dataclass(frozen=True, kw_only=True)
class Poly(Phase):
    """`floor + (rate - floor) * (1 - t / T) ** power`.

    Attributes:
        power: 0.9 in the reference and in mmsegmentation's SGD recipes, 1 in its AdamW recipes.
        floor: rate at the end (mmsegmentation's `eta_min`); see `LRSchedule` for groups with a multiplier.
        reaches_end: the last step has the floor, `1 - t / (T - 1)` (mmsegmentation 1.x); otherwise `1 - t / T` (the
            reference and mmsegmentation 0.x), which no step of the training brings to its end.
    """

    power: float = 0.9
    floor: float = 0.0
    reaches_end: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("power", 0 < self.power < math.inf, "a number > 0")
        self._require("floor", 0 <= self.floor < math.inf, "a rate >= 0")

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return curves.poly(start, step, length, self.power, self.floor, self.reaches_end)


@dataclass(frozen=True, kw_only=True)
class Cosine(Phase):
    """Half a cosine from the rate to `floor`; attributes as for `Poly`."""

    floor: float = 0.0
    reaches_end: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("floor", 0 <= self.floor < math.inf, "a rate >= 0")

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return curves.cosine(start, step, length, self.floor, self.reaches_end)


@dataclass(frozen=True, kw_only=True)
class _Counted(Phase):
    """A phase whose rate changes with the epochs or iterations that are done since its beginning."""

    by: Literal["epoch", "iteration"] = "epoch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in UNITS:
            raise OptionError(f"by: {self.by!r}{did_you_mean(str(self.by), UNITS)}")

    def _count(self, step: int, steps_per_epoch: int) -> int:
        return step // max(steps_per_epoch, 1) if self.by == "epoch" else step


@dataclass(frozen=True, kw_only=True)
class Exponential(_Counted):
    """Times `gamma` after every epoch (or iteration).

    Attributes:
        gamma: factor, > 0.
        by: `epoch` or `iteration`, counted from the beginning of the phase.
    """

    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("gamma", 0 < self.gamma < math.inf, "a number > 0")

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return curves.exponential(start, self._count(step, steps_per_epoch), self.gamma)


@dataclass(frozen=True, kw_only=True)
class Step(_Counted):
    """Times `gamma` after each of the `milestones`.

    Attributes:
        milestones: epochs (or iterations), ascending, counted from the beginning of the phase.
        gamma: factor, > 0.
        by: `epoch` or `iteration`.
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        in_order = list(self.milestones) == sorted(set(self.milestones)) and all(m > 0 for m in self.milestones)
        self._require("milestones", in_order, "ascending numbers > 0")
        self._require("gamma", 0 < self.gamma < math.inf, "a number > 0")

    def rate(self, start: float, step: int, length: int, steps_per_epoch: int) -> float:
        """See `Phase.rate`."""
        return curves.step_decay(start, self._count(step, steps_per_epoch), self.milestones, self.gamma)


def check_phases(phases: Sequence[Phase]) -> None:
    """Whether phases can stand in a row.

    Raises:
        OptionError: none at all, one that is no phase, or one before the last that takes the rest of the training.
    """
    if not phases:
        raise OptionError("phases: expected at least one")
    for index, phase in enumerate(phases):
        if not isinstance(phase, Phase):
            raise OptionError(
                f"phases.{index}: expected a phase of catalyst_cityscapes.schedules, got a {type(phase).__name__}"
            )
        if index < len(phases) - 1 and phase.iterations is None and phase.epochs is None:
            raise OptionError(
                f"phases.{index}: {type(phase).__name__} has no length, and only the last phase may take the rest of "
                "the training; give it iterations or epochs"
            )
    if isinstance(phases[-1], LinearWarmup) and phases[-1].over_next:
        raise OptionError(f"phases.{len(phases) - 1}: over_next: there is no phase after it")


def rate_at(phases: Sequence[Phase], base: float, step: int, total: int, steps_per_epoch: int) -> float:
    """Rate of an optimiser step under phases in a row; after the last one it stays where that one ended.

    Args:
        phases: as `check_phases` takes them.
        base: rate that the first phase starts from.
        step: counted from 0 over the whole training.
        total: steps of the whole training.
        steps_per_epoch: optimiser steps of an epoch.
    """
    start, begin, scale = base, 0, 1.0
    for phase in phases:
        length = phase.length(steps_per_epoch)
        if length is None:
            length = max(total - begin, 1)
        here = step - begin
        if isinstance(phase, LinearWarmup) and phase.over_next:
            scale *= phase.rate(1.0, min(here, length), length, steps_per_epoch)
            continue
        if here < length:
            return scale * phase.rate(start, here, length, steps_per_epoch)
        start = phase.rate(start, length, length, steps_per_epoch)
        begin += length
    return scale * start
