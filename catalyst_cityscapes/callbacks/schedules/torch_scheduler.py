"""Any scheduler of torch, stepped by iteration or by epoch."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from catalyst.core.callback import ISchedulerCallback
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, ScheduleRun
from semseg_ref.base.errors import OptionError, did_you_mean

UNITS = ("iteration", "epoch")
MOMENTUM_CYCLES = ("OneCycleLR", "CyclicLR")
"""They write the momentum too, unless `cycle_momentum` is false."""

REFUSALS = (ValueError, TypeError, KeyError, ArithmeticError)
"""What torch raises for arguments that it cannot use."""


class TorchScheduler(PlacedCallback, ISchedulerCallback):
    """Builds a scheduler over the run's optimiser and steps it after the optimiser's step.

    Its position is kept in checkpoints, and a resumed run continues with the rates that its checkpoint holds.

    Args:
        scheduler: node of a scheduler without its `optimizer`; what recipes build of it is a `functools.partial`.
            `SequentialLR` and `ChainedScheduler` take such nodes in `schedulers`.
        every: `iteration` steps it after each step of the optimiser, `epoch` after the last one of an epoch.

    Raises:
        OptionError: no scheduler of torch, one that waits for a metric, or another word for `every`.
    """

    place = Place.RATES

    @classmethod
    def role(cls, arguments: Mapping[str, Any]) -> Role:
        """Torch's cycles drive the momentum, too."""
        node = arguments.get("scheduler")
        node = node if isinstance(node, Mapping) else {}
        name = str(node.get("_target_", "")).rpartition(".")[2]
        if name in MOMENTUM_CYCLES and node.get("cycle_momentum", True):
            return Role("schedule", affects=("rates", "momentum"), takes=("rates", "momentum"))
        return Role("schedule", affects="rates", takes=("rates",))

    def __init__(self, scheduler: partial, every: Literal["iteration", "epoch"] = "iteration") -> None:
        super().__init__()
        if every not in UNITS:
            raise OptionError(f"every: {every!r}{did_you_mean(str(every), UNITS)}")
        _check(scheduler, "scheduler")
        self._node, self.every = scheduler, every
        self.scheduler: LRScheduler | None = None
        self._state: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state."""
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keeps the state until the optimiser is there."""
        self._state = state["scheduler"]

    def on_experiment_start(self, runner: ScheduleRun) -> None:
        """Builds the scheduler, which writes the rates of the first step.

        Raises:
            OptionError: the scheduler refuses its arguments or this optimiser, or ends before the training does.
        """
        optimizer = getattr(runner.optimizer, "optimizer", runner.optimizer)  # accelerate's wrapper would be stepped
        kept = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        try:
            self.scheduler = _build(self._node, optimizer)
        except REFUSALS as error:
            raise self._refusal(runner, str(error)) from error
        steps = runner.total_steps
        if self.every == "epoch":
            steps = -(-steps // runner.steps_per_epoch)
        if isinstance(self.scheduler, OneCycleLR) and self.scheduler.total_steps < steps:
            ends = f"ends after {self.scheduler.total_steps} steps, and the training has {steps} {self.every}s"
            raise self._refusal(runner, f"{ends}; total_steps: {steps} fits")
        if self._state is not None:
            self.scheduler.load_state_dict(self._state)
            # Schedulers write rates when they are built, some from the rate that is there.
            for group, values in zip(optimizer.param_groups, kept, strict=True):
                group.update(values)

    def on_batch_end(self, runner: ScheduleRun) -> None:
        """Steps the scheduler, which writes the rates of the next step.

        Raises:
            OptionError: it cannot compute them from its arguments; some schedulers look at them here only.
        """
        if not runner.is_train_loader or not runner.optimizer_stepped:
            return
        if self.every == "epoch" and runner.optimizer_steps % runner.steps_per_epoch:
            return
        with warnings.catch_warnings():
            # Of a first step that a gradient scaler left out, and of what SequentialLR calls itself.
            warnings.simplefilter("ignore", UserWarning)
            try:
                self.scheduler.step()
            except REFUSALS as error:
                raise self._refusal(runner, str(error)) from error

    def _refusal(self, runner: ScheduleRun, reason: str) -> OptionError:
        # Where schedules are measured alone there are no callbacks to look for this one's key among.
        names = (f"callbacks.{name}." for name, each in getattr(runner, "callbacks", {}).items() if each is self)
        return OptionError(f"{next(names, '')}scheduler: {self._node.func.__name__}: {' '.join(reason.split())}")


def _check(node: Any, place: str) -> None:
    kind = getattr(node, "func", None)
    if not (isinstance(node, partial) and isinstance(kind, type) and issubclass(kind, LRScheduler)):
        said = kind.__name__ if isinstance(kind, type) else type(node).__name__
        raise OptionError(f"{place}: expected a scheduler of torch.optim.lr_scheduler, got {said}")
    if issubclass(kind, ReduceLROnPlateau):
        raise OptionError(
            f"{place}: ReduceLROnPlateau steps by a metric, and schedules here follow the position in the training "
            "alone; take StepLR or catalyst_cityscapes.callbacks.LRSchedule"
        )
    for index, inner in enumerate(node.keywords.get("schedulers", ())):
        _check(inner, f"{place}.schedulers.{index}")


def _build(node: partial, optimizer: torch.optim.Optimizer) -> LRScheduler:
    arguments = dict(node.keywords)
    if "schedulers" in arguments:
        arguments["schedulers"] = [_build(inner, optimizer) for inner in arguments["schedulers"]]
    return node.func(optimizer=optimizer, **arguments)
