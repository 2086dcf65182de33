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

from catalyst_cityscapes.recipe.nodes.targets import OWN_PACKAGES, SUPPLIED, resolve_target, walk_nodes
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import NEUTRAL

KeyPath = tuple[str, ...]
Flat = dict[KeyPath, Any]
"""A nested mapping as {key path: value}; lists and empty mappings are values."""

CALLBACKS = "catalyst_cityscapes.callbacks."
GROUPS = "catalyst_cityscapes.optim.reference_groups"
LOSSES = {"loss", "main_loss", "aux_loss"}
# The lab sets the seed of every run itself; the last epoch is always saved, and a best one as well.
NO_NUMBER = set(NEUTRAL) - {"callbacks.mean_iou"} | {"experiment.seed", "callbacks.checkpoint.save_every"}
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

    Left out: names and folders, logs, the seed, what `recipe.translation.NEUTRAL` lists, the number of loader workers
    (with the named seed streams), and validation and its metrics where no checkpoint is selected and no training
    stopped by them. Callbacks and steps that are null are left out, too. Written out: the defaults of this project's
    and torch's components. `OneCycle` becomes one callback for the rates and one for the momentum; the values that it
    overwrites before the first step become its own first ones, and `same_rate_for_all_groups` becomes
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
    _split_one_cycle(content)
    _drop_idle_validation(content)
    if content["sampling"]["seed_stream"] == "named":
        del content["sampling"]["workers"]
    return {path: value for path, value in flatten(content).items() if not is_neutral(path)}


def is_neutral(path: KeyPath) -> bool:
    """Whether a key changes no number that a run gives, in any recipe."""
    dotted = ".".join(path)
    return any(dotted == name or dotted.startswith(f"{name}.") for name in NO_NUMBER)


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


def kind_of(node: dict[str, Any]) -> str:
    """Class name of one of this project's callbacks, else ''."""
    target = str(node.get("_target_", ""))
    return target.rpartition(".")[2] if target.startswith(CALLBACKS) else ""


def _split_one_cycle(content: dict[str, Any]) -> None:
    callbacks, optimizer = content["callbacks"], content["optimizer"]
    kinds = [kind_of(node) for node in callbacks.values()]
    for name, node in [(name, node) for name, node in callbacks.items() if kind_of(node) == "OneCycle"]:
        rates, momentum = node["rates"], node["momentum"]
        if rates and node["same_rate_for_all_groups"] and "head_multiplier" in optimizer["groups"]:
            optimizer["groups"]["head_multiplier"] = 1
            node["same_rate_for_all_groups"] = False
        if rates and "PolyLR" not in kinds and "lr" in optimizer:
            optimizer["lr"] = rates[0]
        if momentum and "momentum" in optimizer and not optimizer.get("nesterov"):
            optimizer["momentum"] = momentum[0]
        if rates and momentum and "momentum_cycle" not in callbacks:
            callbacks["momentum_cycle"] = {**node, "rates": None}
            callbacks[name] = {**node, "momentum": None}
    for node in callbacks.values():
        if kind_of(node) == "OneCycle" and not node["rates"]:
            node["same_rate_for_all_groups"] = False


def watched_metrics(content: dict[str, Any]) -> list[tuple[str, str]]:
    """(loader, metric) of whatever decides on a checkpoint or on the end of the training."""
    nodes = list(content["callbacks"].values())
    watching = [node for node in nodes if kind_of(node) == "EarlyStopping"]
    watching += [node for node in nodes if kind_of(node) == "Checkpoint" and node.get("select") == "best"]
    return [(node.get("loader", "valid"), node.get("metric", "mIoU")) for node in watching]


def _drop_idle_validation(content: dict[str, Any]) -> None:
    watched = watched_metrics(content)
    for name, node in list(content["callbacks"].items()):
        if kind_of(node) == "Checkpoint" and node["select"] == "last":
            content["callbacks"][name] = {key: node[key] for key in ("_target_", "select")}
        if kind_of(node) in ("MeanIoU", "BatchMeanIoU") and all(metric in LOSSES for _, metric in watched):
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
