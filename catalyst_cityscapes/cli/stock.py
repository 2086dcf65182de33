"""Plain Catalyst 22 configs (`runner:` and `run:` with `_call_`), checked, repaired where 22.4 is broken, and run."""

import inspect
from collections.abc import Sequence
from typing import Any

import catalyst.runners.supervised
import click
import hydra_slayer
import torch
from catalyst.utils.misc import set_global_seed
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from catalyst_cityscapes.engine import close_processes, repair_stock_engines
from catalyst_cityscapes.recipe.loading import find_config, overlay, read_yaml
from catalyst_cityscapes.recipe.targets import resolve_target, walk_nodes
from semseg_ref.errors import InputError, did_you_mean

SECTIONS = (
    "args",
    "model",
    "engine",
    "loggers",
    "loaders",
    "criterion",
    "optimizer",
    "scheduler",
    "callbacks",
    "shared",
    "runner",
    "run",
)
SLAYER_KEYS = ("_target_", "_var_", "_mode_", "_call_")


def run_stock(files: Sequence[str], settings: Sequence[str], trusted: Sequence[str]) -> None:
    """Merges, checks and runs a plain Catalyst config. `args.seed` seeds before anything is built.

    Raises:
        InputError: unknown `_xxx_` keys, targets outside the allow-list, unknown arguments or methods, undefined
        `_var_`.
    """
    content = _merge(files, settings)
    name = files[0]
    _check(content, name, trusted)
    seed = (content.get("args") or {}).get("seed")
    if seed is not None:
        set_global_seed(int(seed))
    repair_stock_engines()
    # 22.4 adds its scheduler callback only for the class that torch 1 had; a scheduler would never be stepped.
    catalyst.runners.supervised.TorchScheduler = torch.optim.lr_scheduler.LRScheduler
    content.pop("args", None)
    try:
        built = hydra_slayer.Registry().get_from_params(**content)
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        raise InputError(f"{name}: {' '.join(str(error.__cause__ or error).split())}") from error
    try:
        for index, stage in enumerate(built["run"]):
            method = stage.pop("_call_")
            result = getattr(built["runner"], method)(**stage)
            if result is not None and not hasattr(result, "run"):
                click.echo(f"run.{index} {method}: {result}")
    finally:
        close_processes()


def _merge(files: Sequence[str], settings: Sequence[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in files:
        merged = overlay(merged, read_yaml(find_config(file)))
    config = OmegaConf.create(merged)
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            if OmegaConf.select(config, key) is None:
                raise InputError(f"--set {setting}: no such key in {', '.join(files)}{did_you_mean(key, merged)}")
            OmegaConf.update(config, key, OmegaConf.create(f"value: {value}").value)
        except OmegaConfBaseException as error:
            raise InputError(f"--set {setting}: {' '.join(str(error).split())}") from error
    return OmegaConf.to_container(config, resolve=True)


def _check(content: dict[str, Any], name: str, trusted: Sequence[str]) -> None:
    for key in content:
        if key not in SECTIONS and not isinstance(content[key], dict):
            raise InputError(f"{name}: {key}: unknown section{did_you_mean(key, SECTIONS)}")
    runner = content["runner"]
    if not isinstance(runner, dict) or not isinstance(runner.get("_target_"), str):
        raise InputError(f"{name}: runner: expected a node with a '_target_'")
    for path, node in walk_nodes(content):
        place = ".".join(map(str, path))
        try:
            target = resolve_target(str(node["_target_"]), trusted)
        except InputError as error:
            raise InputError(f"{name}: {place}: {error}") from error
        _check_arguments(target, node, f"{name}: {place}")
    _check_keys(content, (), name, set())
    if not isinstance(content["run"], list):
        raise InputError(f"{name}: run: expected a list of stages, each with a '_call_'")
    methods = [m for m in dir(resolve_target(runner["_target_"], trusted)) if not m.startswith("_")]
    for index, stage in enumerate(content["run"]):
        call = stage.get("_call_") if isinstance(stage, dict) else None
        if call not in methods:
            raise InputError(f"{name}: run.{index}._call_: no method '{call}'{did_you_mean(str(call), methods)}")


def _check_arguments(target: Any, node: dict[str, Any], place: str) -> None:
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:
        return
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values()):
        return
    for key in node:
        if key not in parameters and key not in SLAYER_KEYS:
            raise InputError(f"{place}.{key}: unknown argument{did_you_mean(str(key), parameters)}")


def _check_keys(value: Any, path: tuple, name: str, variables: set[str]) -> None:
    # In file order, as hydra-slayer builds: a variable must be defined (a node with `_target_`) before it is read.
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _check_keys(inner, (*path, index), name, variables)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if str(key).startswith("_") and key not in SLAYER_KEYS:
            place = ".".join(map(str, (*path, key)))
            raise InputError(f"{name}: {place}: unknown key{did_you_mean(str(key), SLAYER_KEYS)}")
        _check_keys(inner, (*path, key), name, variables)
    variable = value.get("_var_")
    if variable is None:
        return
    alias = str(variable).split(".")[0]
    if "_target_" in value or len(value) > 1:
        variables.add(alias)
    elif alias not in variables:
        place = ".".join(map(str, (*path, "_var_")))
        raise InputError(f"{name}: {place}: '{alias}' is not defined above{did_you_mean(alias, variables)}")
