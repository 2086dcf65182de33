"""What a node of a recipe has to be, by its place: a callback, a network, something that takes image and label."""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from catalyst_cityscapes.recipe.nodes.allow_list import FACTORIES, within

ALBUMENTATIONS, TORCHVISION = "albumentations", "torchvision.transforms.v2"
"""Libraries whose transforms take no (image, label)."""
PAIRS = {"augmentation": "image and label", "criterion": "logits and labels"}
PLAIN = (str, int, float, bool, type(None))


def kind_problem(path: tuple, node: dict[str, Any], target: Callable) -> str | None:
    """Why a node cannot do what its place in the recipe asks for, None where it can or where nobody can tell.

    Functions are believed: what they return is known only when they are called.

    Args:
        path: key path of the node.
        node: the node.
        target: what its `_target_` stands for.
    """
    if path[0] in ("criterion", "callbacks") and node.get("from_logits") is False:
        return f"{node['_target_']} takes probabilities with from_logits: false, and networks give logits; leave it out"
    is_callback = path[0] == "callbacks" and len(path) == 2
    is_step = path[:2] == ("augmentation", "steps") and len(path) == 3
    if not (is_callback or is_step or len(path) == 1):
        return None
    if node.get("_mode_") == "partial" and path[0] == "augmentation" and not inspect.isclass(target):
        return None  # a function of (image, label) itself
    if node.get("_mode_") == "partial":
        return "_mode_: partial builds a function, and this place needs what it returns; leave it out"
    name = node["_target_"]
    if name in FACTORIES:
        return f"{name} makes a tensor, which is for an argument of a component and can be none itself"
    if not inspect.isclass(target):
        return None
    if is_callback or path[0] in ("model", "optimizer"):
        base, what = _base("callback" if is_callback else path[0])
        if not issubclass(target, base):
            return f"expected {what}, {name} is none"
        return _against_optimizer(target) if path[0] == "optimizer" else None
    return None if _takes_two(target) else f"{name} does not take {PAIRS[path[0]]}"


def _base(place: str) -> tuple[type, str]:
    # Imported here, because a recipe with a misspelt key is refused before Catalyst is there, which takes seconds.
    if place == "callback":
        from catalyst.core.callback import ICallback

        return ICallback, "a callback of Catalyst"
    import torch

    return {
        "model": (torch.nn.Module, "a torch.nn.Module"),
        "optimizer": (torch.optim.Optimizer, "a torch.optim.Optimizer"),
    }[place]


def _against_optimizer(target: type) -> str | None:
    name = target.__name__
    if name == "SparseAdam":
        return f"{name} takes sparse gradients, and a network's here are dense; take torch.optim.Adam"
    closure = inspect.signature(target.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        return (
            f"{name} computes the loss several times a step (a closure), and a training step here does it once; take "
            "another optimiser, such as torch.optim.SGD or torch.optim.AdamW"
        )
    return None


def _takes_two(target: type) -> bool:
    from torch import nn

    call = target.forward if issubclass(target, nn.Module) else getattr(target, "__call__", None)  # noqa: B004
    if not inspect.isfunction(call):
        return False
    try:
        inspect.signature(call).bind("self", "first", "second")
    except TypeError:
        return False
    return True


def is_plain(hint: Any) -> bool:
    """Whether a type hint allows text, numbers and lists of them only, so that no node can stand there."""
    if hint in PLAIN or get_origin(hint) is Literal:
        return True
    parts = [part for part in get_args(hint) if part is not ...]
    is_list = get_origin(hint) in (list, tuple, Sequence, Union, types.UnionType)
    return is_list and bool(parts) and all(map(is_plain, parts))


def library_of(module: str) -> str | None:
    """The library whose transforms, of this module, need an adapter to take (image, label)."""
    return next((name for name in (ALBUMENTATIONS, TORCHVISION) if within(module, (name,))), None)
