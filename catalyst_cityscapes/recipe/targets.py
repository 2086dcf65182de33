"""What a `_target_` may be, whether its arguments fit, and building it.

A recipe is data that people mail to each other: a target must come from a package on the allow-list, by the module that
defines it and not only by the name it is reached through (`catalyst.utils.misc.os.system` is `posix`'s).
"""

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_type_hints

import hydra_slayer
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.errors import InputError, did_you_mean

ALLOWED = (
    "catalyst",
    "catalyst_cityscapes.callbacks",
    "catalyst_cityscapes.data",
    "catalyst_cityscapes.engine",
    "catalyst_cityscapes.models",
    "catalyst_cityscapes.optimization",
    "semseg_ref.dataset",
    "semseg_ref.metric",
    "semseg_ref.model",
    "semseg_ref.optimizer",
    "semseg_ref.sampling",
    "semseg_ref.schedule",
    "semseg_ref.transform",
    "torch.nn",
    "torch.optim",
    "torch.utils.data",
    "torchvision",
    "albumentations",
    "segmentation_models_pytorch",
    "timm",
)
# Programs that read and run further configs would let a recipe out of this list: of our own packages only those with
# components are on it, and this one of Catalyst's is taken out.
REFUSED = ("catalyst.contrib.scripts",)
SUPPLIED = {("optimizer",): {"params"}, ("optimizer", "groups"): {"model", "lr", "weight_decay"}}
"""Arguments that the runner adds when it builds a node."""

NODE_KEYS = ("_target_", "_mode_")
OWN_PACKAGES = ("catalyst_cityscapes.", "semseg_ref.")
ErrorAt = Callable[..., InputError]


def is_allowed(name: str, trusted: Sequence[str] = ()) -> bool:
    """Whether a dotted module or target name lies in an allowed package."""
    return _within(name, trusted) or (_within(name, ALLOWED) and not _within(name, REFUSED))


def _within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def resolve_target(name: str, trusted: Sequence[str] = ()) -> Callable:
    """The class or function that a `_target_` names.

    Raises:
        InputError: not on the allow-list, not importable, no such attribute (with the nearest), or not callable.
    """
    if not is_allowed(name, trusted):
        raise InputError(
            f"target '{name}' is outside the allowed packages ({', '.join((*ALLOWED, *trusted))}); "
            f"--trust {name.split('.')[0]} allows it for this run"
        )
    parts = name.split(".")
    found, used = _import_longest(parts)
    for index in range(used, len(parts)):
        if not hasattr(found, parts[index]):
            valid = [n for n in dir(found) if not n.startswith("_")]
            where = ".".join(parts[:index])
            raise InputError(
                f"target '{name}' does not exist: '{where}' has no '{parts[index]}'{_nearest(parts[index], valid)}"
            )
        found = getattr(found, parts[index])
    if not callable(found):
        raise InputError(f"target '{name}' is not a class or function, but {type(found).__name__}")
    module = getattr(found, "__module__", None) or ""
    if not is_allowed(module, trusted):
        raise InputError(f"target '{name}' is defined in '{module}', which is outside the allowed packages")
    return found


def _nearest(name: str, valid: list[str]) -> str:
    hint = did_you_mean(name, valid)
    return hint if "did you mean" in hint else ""


def _import_longest(parts: list[str]) -> tuple[Any, int]:
    for used in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:used])
        try:
            return importlib.import_module(module), used
        except ModuleNotFoundError as error:
            # A missing parent means a shorter path; a missing dependency is the user's to install.
            if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
                raise InputError(
                    f"target '{'.'.join(parts)}' needs the package '{error.name}', not installed"
                ) from error
            if used == 1:
                raise InputError(f"target '{'.'.join(parts)}' needs the package '{parts[0]}', not installed") from error
        except ImportError as error:
            raise InputError(f"target '{'.'.join(parts)}': {module} cannot be imported ({error})") from error
    raise InputError(f"target '{'.'.join(parts)}' is no dotted name")


def walk_nodes(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Every mapping with a `_target_` below `value`, with its key path, outermost first."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield path, value
        for key, inner in value.items():
            yield from walk_nodes(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk_nodes(inner, (*path, index))


def check_nodes(recipe: Recipe, error_at: ErrorAt, trusted: Sequence[str] = ()) -> None:
    """Checks every node of a recipe before anything is built: target, argument names, required arguments."""
    components = [key for key, node in recipe.callbacks.items() if node is None or "_target_" in node]
    for key in recipe.callbacks:
        if key not in components:
            raise error_at(("callbacks", key), f"a new component needs a '_target_'{did_you_mean(key, components)}")
    for name in ("augmentation", "model", "criterion", "optimizer", "callbacks"):
        section = getattr(recipe, name)
        for path, node in walk_nodes(section, (name,)):
            _check_node(path, node, error_at, trusted)


def _check_node(path: tuple, node: dict[str, Any], error_at: ErrorAt, trusted: Sequence[str]) -> None:
    for key in node:
        if str(key).startswith("_") and key not in NODE_KEYS:
            raise error_at((*path, key), f"unknown key{did_you_mean(str(key), NODE_KEYS)}")
    if not isinstance(node["_target_"], str):
        raise error_at((*path, "_target_"), f"expected a dotted name, got {node['_target_']!r}")
    try:
        target = resolve_target(node["_target_"], trusted)
    except InputError as error:
        raise error_at((*path, "_target_"), str(error)) from error
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # built-in callables without a signature are checked when they are built
        return
    arguments = [key for key in node if key not in NODE_KEYS]
    names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    supplied = SUPPLIED.get(path, set())
    special = {"groups"} if path == ("optimizer",) else set()
    for key in arguments:
        if key in supplied:
            raise error_at((*path, key), "unknown argument; the runner sets it")
        if key not in names and key not in special and not open_ended:
            raise error_at(
                (*path, key), f"unknown argument{did_you_mean(str(key), [*set(names) - supplied, *special])}"
            )
    for name in names:
        required = parameters[name].default is inspect.Parameter.empty
        if required and name not in arguments and name not in supplied and node.get("_mode_") != "partial":
            raise error_at(path, f"missing argument '{name}' of {node['_target_']}")
    if target.__module__.startswith(OWN_PACKAGES):
        _check_types(path, node, target, error_at)


def _check_types(path: tuple, node: dict[str, Any], target: Callable, error_at: ErrorAt) -> None:
    # Of our own components only: other projects' annotations are often narrower or wider than their code.
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in node.items():
        if key not in hints or any(True for _ in walk_nodes(value)):
            continue
        try:
            # As JSON, since a strict check of python values would refuse YAML's lists where a tuple is asked for.
            config = ConfigDict(arbitrary_types_allowed=True)
            TypeAdapter(hints[key], config=config).validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            raise error_at((*path, key), f"{error.errors()[0]['msg']} (got {value!r})", True) from error
        except PydanticUserError:
            continue


def build(node: dict[str, Any], path: str, **supplied: Any) -> Any:
    """Builds a checked node with hydra-slayer, in a registry of its own; functions are called, not wrapped.

    Raises:
        InputError: naming `path`, when the constructor refuses its arguments.
    """
    prepared = _called(node)
    try:
        return hydra_slayer.Registry().get_from_params(**prepared, **supplied)
    except Exception as error:
        cause = error.__cause__ or error
        while not isinstance(cause, InputError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise InputError(f"{path}: {node['_target_']}: {' '.join(str(cause).split())}") from error


def _called(value: Any) -> Any:
    # hydra-slayer turns a function into a partial unless told to call it.
    if isinstance(value, dict):
        result = {key: _called(inner) for key, inner in value.items()}
        if "_target_" in result:
            result.setdefault("_mode_", "call")
        return result
    if isinstance(value, list):
        return [_called(inner) for inner in value]
    return value
