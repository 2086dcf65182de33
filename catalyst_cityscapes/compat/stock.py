"""Plain Catalyst 22 configs (`runner:` and `run:` with `_call_`), checked, repaired where 22.4 is broken, and run."""

import inspect
import pickle
import re
from collections.abc import Sequence
from typing import Any

import catalyst.runners.supervised
import click
import torch
from catalyst.utils.misc import set_global_seed
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from catalyst_cityscapes.recipe.loading import UNREADABLE, find_config, overlay, read_yaml
from catalyst_cityscapes.recipe.nodes.targets import TargetRegistry, refused_argument, resolve_target, walk_nodes
from catalyst_cityscapes.recipe.nodes.user_code import make_importable
from catalyst_cityscapes.recipe.references import check_values
from catalyst_cityscapes.train.engine import close_processes, repair_stock_engines
from semseg_ref.base.errors import CheckpointError, InputError, did_you_mean, printable

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
    make_importable(trusted, (find_config(file).parent for file in files))
    _check(content, name, trusted)
    seed = (content.get("args") or {}).get("seed")
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"{name}: args.seed: {seed!r} is no whole number >= 0")
        set_global_seed(seed)
    repair_stock_engines()
    # 22.4 adds its scheduler callback only for the class that torch 1 had; a scheduler would never be stepped.
    catalyst.runners.supervised.TorchScheduler = torch.optim.lr_scheduler.LRScheduler
    content.pop("args", None)
    try:
        built = TargetRegistry().get_from_params(**content)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"{name}: {_describe(error)}") from error
    try:
        for index, stage in enumerate(built["run"]):
            method = stage.pop("_call_")
            try:
                result = getattr(built["runner"], method)(**stage)
            except pickle.UnpicklingError as error:
                said = "a checkpoint of more than tensors and plain values; pickled code is never run"
                raise CheckpointError(f"{name}: run.{index} {method}: {said}") from error
            if result is not None and not hasattr(result, "run"):
                shown = dict(result) if isinstance(result, dict) else result
                click.echo(printable(f"run.{index} {method}: {shown}"))
    finally:
        close_processes()


def _describe(error: BaseException) -> str:
    # hydra-slayer chains one "Factory 'X' call failed" a level; the innermost names the node that is at fault.
    target, cause = "", error
    while True:
        match = re.match(r"Factory '([\w.]+)' call failed", str(cause))
        if match is None or cause.__cause__ is None:
            return target + (" ".join(str(cause).split()) or type(cause).__name__)
        target, cause = f"{match[1]}: ", cause.__cause__


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
        except UNREADABLE as error:
            raise InputError(f"--set {setting}: {' '.join(str(error).split())}") from error
    check_values(OmegaConf.to_container(config), lambda path, message: _error(files[0], path, message))
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{files[0]}: {' '.join(str(error).split())}") from error


def _error(name: str, path: Sequence[Any], message: str) -> InputError:
    return InputError(f"{name}: {'.'.join(map(str, path))}: {message}")


def _check(content: dict[str, Any], name: str, trusted: Sequence[str]) -> None:
    for key in content:
        if key == "shared_params":
            raise InputError(f"{name}: {key}: not supported; it would add arguments to every node")
        if key not in SECTIONS and not isinstance(content[key], dict):
            raise InputError(f"{name}: {key}: unknown section{did_you_mean(key, SECTIONS)}")
    _check_keys(content, (), name, set())
    runner = content["runner"]
    if not isinstance(runner, dict) or not isinstance(runner.get("_target_"), str):
        raise InputError(f"{name}: runner: expected a node with a '_target_'")
    for path, node in walk_nodes(content):
        place = ".".join(map(str, path))
        try:
            target = resolve_target(str(node["_target_"]), trusted)
        except InputError as error:
            raise InputError(f"{name}: {place}: {error}") from error
        refused = refused_argument(target, node)
        if refused:
            raise InputError(f"{name}: {place}: {refused}")
        _check_arguments(target, node, f"{name}: {place}")
    if not isinstance(content["run"], list):
        raise InputError(f"{name}: run: expected a list of stages, each with a '_call_'")
    runner_class = resolve_target(runner["_target_"], trusted)
    methods = [m for m in dir(runner_class) if not m.startswith("_") and callable(getattr(runner_class, m))]
    for index, stage in enumerate(content["run"]):
        call = stage.get("_call_") if isinstance(stage, dict) else None
        if call not in methods:
            raise InputError(f"{name}: run.{index}._call_: no method '{call}'{did_you_mean(str(call), methods)}")
        _check_stage(getattr(runner_class, call), stage, f"{name}: run.{index}")


def _check_stage(method: Any, stage: dict[str, Any], place: str) -> None:
    parameters = dict(list(inspect.signature(method).parameters.items())[1:])  # the first is the runner itself
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in stage:
        if key != "_call_" and key not in parameters and not open_ended:
            raise InputError(f"{place}.{key}: unknown argument{did_you_mean(str(key), parameters)}")
    for key, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and key not in stage:
            raise InputError(f"{place}: missing argument '{key}'")


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
    alias, _, attribute = str(variable).partition(".")
    if attribute.startswith("_"):
        raise InputError(f"{name}: {'.'.join(map(str, (*path, '_var_')))}: '{attribute}' is private")
    if "_target_" in value or len(value) > 1:
        variables.add(alias)
    elif alias not in variables:
        place = ".".join(map(str, (*path, "_var_")))
        raise InputError(f"{name}: {place}: '{alias}' is not defined above{did_you_mean(alias, variables)}")
