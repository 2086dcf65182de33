"""Which callback does what in a training step: each part has one owner, so that nothing is done twice or not at all.

Catalyst calls every callback it is given. Two that step the optimiser step it twice, two that write rates leave the one
of the later, and nothing says so; this is why it is decided here, by what a class is and not by its key.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
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

from catalyst_cityscapes.recipe.role import PARTS, Part, role_of
from semseg_ref.base.errors import InputError, OptionError

OWN = "catalyst_cityscapes.callbacks"
FOREIGN = "catalyst."
TAKEN_BY: tuple[tuple[tuple[type, ...], str], ...] = (
    ((IOptimizerCallback, IBackwardCallback), "optimiser"),
    ((ICriterionCallback,), "loss"),
    ((ISchedulerCallback,), "rates"),
    ((ICheckpointCallback,), "checkpoints"),
)
"""The parts that a class takes by the interfaces of Catalyst that it has, where it does not say which."""
METRIC = Part("measures logits [N, K] of whole images", "MeanIoU")

Node = tuple[tuple, dict[str, Any], Callable]


def check_roles(nodes: Sequence[Node], error_at: Callable[..., InputError]) -> None:
    """Refuses a callback of Catalyst that takes over a part of this project's loop, and two callbacks with one part.

    Args:
        nodes: (key path, node, what its target stands for) of the recipe's callbacks, in order; nested nodes too.
        error_at: makes the error of a key path.

    Raises:
        InputError: naming both key paths, or the callback of this project that does it; a `ROLE` that is no role.
    """
    owners: dict[Part, tuple[str, str]] = {}
    for path, node, target in nodes:
        if not (inspect.isclass(target) and issubclass(target, ICallback)):
            continue
        foreign = _of_catalyst(target)
        if foreign is not None and not _is_harmless(foreign):
            raise error_at(path, _against(foreign, target, owners))
        try:
            parts = _parts(target, node)
        except OptionError as error:
            raise error_at(path, str(error)) from error
        for part in parts:
            key, kind = ".".join(map(str, path)), target.__name__
            if part in owners:
                first, other = owners[part]
                raise error_at(path, f"{kind} {part.what}, and so does {first} ({other}); set one of them to null")
            owners[part] = (key, kind)


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


def _is_harmless(foreign: type) -> bool:
    role = role_of(foreign)
    return role is not None and role.changes_nothing


def _against(foreign: type, target: type, owners: dict[Part, tuple[str, str]]) -> str:
    of = "" if foreign is target else f" is made from Catalyst's {foreign.__name__}, which"
    for part in _parts(foreign, {}) or ([METRIC] if issubclass(foreign, IMetricCallback) else []):
        if part in owners:
            key, kind = owners[part]
            return f"{target.__name__}{of} {part.what}, which {key} ({kind}) does already; remove it"
        instead = " or ".join(f"{OWN}.{name}" for name in part.owner.split(" or "))
        return f"{target.__name__}{of} {part.what}; in a recipe that is {instead}'s part"
    return (
        f"{target.__name__}{of} acts on Catalyst's own runners (it wraps, stops, or changes batches and loaders), and "
        f"a recipe's loop is another; this project's callbacks are {OWN}.*, and a plain Catalyst config "
        "(runner: and run:) takes all of Catalyst's"
    )


def _parts(target: type, node: dict[str, Any]) -> list[Part]:
    role = role_of(target, node)
    if role is not None and role.takes is not None:
        return [PARTS[name] for name in role.takes]
    parts = [PARTS[name] for kinds, name in TAKEN_BY if issubclass(target, kinds)]
    if parts and role is not None and role.changes_nothing:
        raise OptionError(f"{target.__name__} says that it affects nothing, but by its interfaces it {parts[0].what}")
    if not parts and target.__module__.startswith(OWN):
        parts.append(Part(f"does the work of {target.__name__}", target.__qualname__))
    return parts
