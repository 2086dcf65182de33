"""One spelling for recipes that train and test the same weights, so that recipes can be compared by what they do.

A recipe can say one thing in several ways: an argument left out or written with its default, a rate of the optimiser
that the schedule overwrites before the first step, validation that nothing listens to. The canonical form takes these
apart from what matters. tests/lab/ladder/test_ladder_canonical.py trains both spellings and compares the weights bit by
bit.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from typing import Any

from catalyst_cityscapes.recipe.key_roles import callback_role, is_counted
from catalyst_cityscapes.recipe.nodes.targets import OWN_PACKAGES, SUPPLIED, resolve_target, walk_nodes
from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.recipe.schema import Recipe

KeyPath = tuple[str, ...]
Flat = dict[KeyPath, Any]
"""A nested mapping as {key path: value}; lists and empty mappings are values."""

GROUPS = "catalyst_cityscapes.optim.reference_groups"
PLAIN = (type(None), bool, int, float, str)


def flatten(value: Any, path: KeyPath = ()) -> Flat:
    """A nested mapping as {key path: value}."""
    if not isinstance(value, dict) or (not value and path):
        return {path: value}
    return {key: leaf for name, inner in value.items() for key, leaf in flatten(inner, (*path, str(name))).items()}


def unflatten(flat: Flat) -> dict[str, Any]:
    """The inverse of `flatten`."""
    result: dict[str, Any] = {}
    for path, value in flat.items():
        node = result
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return result


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as nested mappings, lists and scalars."""
    return recipe.model_dump(mode="json", by_alias=True)


def canonical(recipe: Recipe, trusted: Sequence[str] = ()) -> Flat:
    """What of a recipe decides the score of a run with a given seed, in one spelling.

    Left out: what its role does not count (names and folders, logs, the seed), the number of loader workers (with the
    named seed streams), and validation and its metrics where no checkpoint is selected and no training stopped by them.
    Callbacks and steps that are null are left out, too. Written out: the defaults of this project's and torch's
    components. A callback that drives both (`OneCycle`) becomes one for the rates and one for the momentum; the values
    that it overwrites before the first step become its own first ones, and `same_rate_for_all_groups` becomes
    `head_multiplier: 1`.

    Args:
        recipe: a checked recipe.
        trusted: packages allowed beside the standing list.
    """
    content = plain(recipe)
    content["callbacks"] = {name: node for name, node in content["callbacks"].items() if node is not None}
    steps = content["augmentation"].get("steps")
    if isinstance(steps, dict):
        content["augmentation"]["steps"] = {name: step for name, step in steps.items() if step is not None}
        content["augmentation"]["order"] = present_steps(content["augmentation"])
    if content["optimizer"].get("groups") is None:  # what the runner makes of it
        content["optimizer"]["groups"] = {"_target_": GROUPS, "head_multiplier": 1}
    write_defaults(content, trusted)
    _split_cycles(content)
    _drop_idle_validation(content)
    if content["sampling"]["seed_stream"] == "named":
        del content["sampling"]["workers"]
    return {path: value for path, value in flatten(content).items() if is_counted(path, content)}


def identity(recipe: Recipe, trusted: Sequence[str] = ()) -> str:
    """Digest of the canonical form: equal for recipes whose runs give the same scores; 16 hex digits."""
    pairs = sorted((".".join(path), _number(value)) for path, value in canonical(recipe, trusted).items())
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def present_steps(augmentation: dict[str, Any]) -> list[str]:
    """The `order` of an augmentation without the names that have no step."""
    return [name for name in augmentation.get("order") or () if augmentation["steps"].get(name) is not None]


def write_defaults(content: dict[str, Any], trusted: Sequence[str] = ()) -> None:
    """Writes the defaults of this project's and torch's components into their nodes, in place."""
    for path, node in list(_known_nodes(content)):
        for name, parameter in inspect.signature(resolve_target(node["_target_"], trusted)).parameters.items():
            value = parameter.default
            value = list(value) if isinstance(value, tuple) else value
            items = value if isinstance(value, list) else [value]
            if name not in SUPPLIED.get(path, ()) and all(isinstance(item, PLAIN) for item in items):
                node.setdefault(name, value)


def _known_nodes(content: dict[str, Any]) -> Iterator[tuple[tuple, dict[str, Any]]]:
    for path, node in walk_nodes(content):
        if str(node["_target_"]).startswith((*OWN_PACKAGES, "torch.")):
            yield path, node


def _known_roles(callbacks: dict[str, Any]) -> dict[str, Role]:
    """The roles of the callbacks that say theirs, by name."""
    found = {name: callback_role(node) for name, node in callbacks.items()}
    return {name: role for name, role in found.items() if role is not None}


def _split_cycles(content: dict[str, Any]) -> None:
    callbacks, optimizer = content["callbacks"], content["optimizer"]
    roles = _known_roles(callbacks)
    others_write_rates = any("rates" in role.affects and not role.drives for role in roles.values())
    for name in [name for name, role in roles.items() if role.drives]:
        node = callbacks[name]
        rates, momentum = node.get("rates"), node.get("momentum")
        if rates and node.get("same_rate_for_all_groups") and "head_multiplier" in optimizer["groups"]:
            optimizer["groups"]["head_multiplier"] = 1
            node["same_rate_for_all_groups"] = False
        if rates and not others_write_rates and "lr" in optimizer:
            optimizer["lr"] = rates[0]
        if momentum and "momentum" in optimizer and not optimizer.get("nesterov"):
            optimizer["momentum"] = momentum[0]
        if rates and momentum and "momentum_cycle" not in callbacks:
            callbacks["momentum_cycle"] = {**node, "rates": None}
            callbacks[name] = {**node, "momentum": None}
    for name, role in _known_roles(callbacks).items():
        if role.drives and not callbacks[name].get("rates") and "same_rate_for_all_groups" in callbacks[name]:
            callbacks[name]["same_rate_for_all_groups"] = False


def watched_metrics(content: dict[str, Any]) -> list[tuple[str, str]]:
    """(loader, metric) of whatever decides on a checkpoint or on the end of the training."""
    callbacks = content["callbacks"]
    watching = [callbacks[name] for name, role in _known_roles(callbacks).items() if role.watches]
    return [(node.get("loader", "valid"), node.get("metric", "mIoU")) for node in watching]


def _drop_idle_validation(content: dict[str, Any]) -> None:
    watched, roles = watched_metrics(content), _known_roles(content["callbacks"])
    without = {metric for role in roles.values() for metric in role.reports}
    for name, role in roles.items():
        if role.affects == ("metrics",) and all(metric in without for _, metric in watched):
            del content["callbacks"][name]
    if all(loader == "train" for loader, _ in watched):
        del content["validation"]


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def differing_keys(left: Flat, right: Flat) -> list[str]:
    """Dotted key paths in which two canonical forms differ, sorted."""
    missing = object()
    return sorted(".".join(path) for path in {**left, **right} if left.get(path, missing) != right.get(path, missing))
