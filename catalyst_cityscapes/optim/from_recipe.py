"""The parameter groups of a recipe's `optimizer` node."""

import inspect
from typing import Any

from torch import nn

from catalyst_cityscapes.optim.param_groups import Groups, reference_groups
from catalyst_cityscapes.recipe.nodes.targets import build, locate


def recipe_groups(optimizer: dict[str, Any], model: nn.Module) -> tuple[dict[str, Any], Groups]:
    """The node of the optimiser itself, and the groups over a network's parameters.

    What the node leaves out (rate, decay) is the optimiser's own default, in the groups too.

    Args:
        optimizer: checked `optimizer` section of a recipe.
        model: bare network.

    Raises:
        InputError: the groups refuse their arguments.
    """
    node = dict(optimizer)
    groups_node = node.pop("groups", None)
    parameters = inspect.signature(locate(node["_target_"])[1]).parameters
    lr, weight_decay = (
        node.get(name, parameters[name].default if name in parameters else 0.0) for name in ("lr", "weight_decay")
    )
    if groups_node is None:
        return node, _one_rate(model, lr)
    return node, build(groups_node, "optimizer.groups", model=model, lr=lr, weight_decay=weight_decay)


def _one_rate(model: nn.Module, lr: float) -> Groups:
    """One group a child module as the reference has them, and one of the network's own parameters; none twice."""
    groups = reference_groups(model, lr, head_multiplier=1.0)
    own = list(model.parameters(recurse=False))
    if own:
        groups.append({"params": own, "lr": lr, "name": type(model).__name__, "lr_multiplier": 1.0})
    seen: set[int] = set()
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in seen]
        seen.update(map(id, group["params"]))
    return groups
