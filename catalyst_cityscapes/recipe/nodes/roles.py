"""Which callback does what in a training step: each role has one owner, so that nothing is done twice or not at all.

Catalyst calls every callback it is given. Two that step the optimiser step it twice, two that write rates leave the one
of the later, and nothing says so; this is why a role is decided here, by what a class is and not by its key.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalyst.core.callback import (
    CallbackWrapper,
    IBackwardCallback,
    ICallback,
    ICheckpointCallback,
    ICriterionCallback,
    IMetricCallback,
    IOptimizerCallback,
    ISchedulerCallback,
)

from semseg_ref.base.errors import InputError

OWN = "catalyst_cityscapes.callbacks"
FOREIGN = "catalyst."
HARMLESS = ("TimerCallback", "TqdmCallback")
"""Of Catalyst's callbacks those that only look."""
EARLY_STOPPING = "stops the training early"


@dataclass(frozen=True)
class Role:
    """What only one callback may do, and which of this project's does it."""

    what: str
    owner: str


ROLES: tuple[tuple[tuple[type, ...], Role], ...] = (
    ((IOptimizerCallback, IBackwardCallback), Role("steps the optimiser", "GradientStep")),
    ((ICriterionCallback,), Role("computes the loss", "AuxLossWeighting")),
    ((ISchedulerCallback,), Role("writes the learning rates", "PolyLR or OneCycle")),
    ((ICheckpointCallback,), Role("writes checkpoints", "Checkpoint")),
)
MOMENTUM = Role("writes the momentum", "OneCycle")
STOP = Role(EARLY_STOPPING, "EarlyStopping")
METRIC = Role("measures logits [N, K] of whole images", "MeanIoU")

Node = tuple[tuple, dict[str, Any], Callable]


def check_roles(nodes: Sequence[Node], error_at: Callable[..., InputError]) -> None:
    """Refuses a callback of Catalyst that takes over a part of this project's loop, and two callbacks with one role.

    Args:
        nodes: (key path, node, what its target stands for) of the recipe's callbacks, in order; nested nodes too.
        error_at: makes the error of a key path.

    Raises:
        InputError: naming both key paths, or the callback of this project that does it.
    """
    owners: dict[Role, tuple[str, str]] = {}
    for path, node, target in nodes:
        if not (inspect.isclass(target) and issubclass(target, ICallback)):
            continue
        foreign = _of_catalyst(target)
        if foreign is not None and foreign.__name__ not in HARMLESS:
            raise error_at(path, _against(foreign, target, owners))
        for role in _roles(target, node):
            key, kind = ".".join(map(str, path)), target.__name__
            if role in owners:
                first, other = owners[role]
                raise error_at(path, f"{kind} {role.what}, and so does {first} ({other}); set one of them to null")
            owners[role] = (key, kind)


def check_built_roles(callbacks: Mapping[str, Any], nodes: Mapping[str, dict[str, Any]]) -> None:
    """`check_roles` of what was built: a function may return any callback, or none.

    Args:
        callbacks: what was built, by name.
        nodes: what it was built from.

    Raises:
        InputError: naming the key path.
    """
    for name, callback in callbacks.items():
        if not isinstance(callback, ICallback):
            raise InputError(f"callbacks.{name}: expected a callback of Catalyst, got a {type(callback).__name__}")
    built = [(("callbacks", name), nodes[name], type(callback)) for name, callback in callbacks.items()]
    check_roles(built, lambda path, message: InputError(f"{'.'.join(path)}: {message}"))


def _of_catalyst(target: type) -> type | None:
    """The class of Catalyst that a target is or is made from, beyond its bare interfaces; None for ours."""
    if target.__module__.startswith("catalyst_cityscapes."):
        return None
    named = (base for base in target.__mro__ if base.__module__.startswith(f"{FOREIGN}callbacks"))
    return next(named, CallbackWrapper if issubclass(target, CallbackWrapper) else None)


def _against(foreign: type, target: type, owners: dict[Role, tuple[str, str]]) -> str:
    of = "" if foreign is target else f" is made from Catalyst's {foreign.__name__}, which"
    for role in _roles(foreign, {}) or ([METRIC] if issubclass(foreign, IMetricCallback) else []):
        if role in owners:
            key, kind = owners[role]
            return f"{target.__name__}{of} {role.what}, which {key} ({kind}) does already; remove it"
        instead = " or ".join(f"{OWN}.{name}" for name in role.owner.split(" or "))
        return f"{target.__name__}{of} {role.what}; in a recipe that is {instead}'s part"
    return (
        f"{target.__name__}{of} acts on Catalyst's own runners (it wraps, stops, or changes batches and loaders), and "
        f"a recipe's loop is another; this project's callbacks are {OWN}.*, and a plain Catalyst config "
        "(runner: and run:) takes all of Catalyst's"
    )


def _roles(target: type, node: dict[str, Any]) -> list[Role]:
    if target.__name__ == "OneCycle" and target.__module__.startswith(OWN):
        # One node may write the rates and another the momentum.
        written = [("rates", ROLES[2][1]), ("momentum", MOMENTUM)]
        return [role for argument, role in written if node.get(argument, ...) is not None]
    roles = [role for kinds, role in ROLES if issubclass(target, kinds)]
    if target.__name__ in ("EarlyStopping", "EarlyStoppingCallback"):
        roles.append(STOP)
    if not roles and target.__module__.startswith(OWN):
        roles.append(Role(f"does the work of {target.__name__}", target.__qualname__))
    return roles
