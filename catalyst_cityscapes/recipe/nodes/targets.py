"""What a `_target_` may be, whether its arguments fit, and building it.

A target must be on the allow-list by the module that defines it and not only by the name it is reached through
(`catalyst.utils.misc.os.system` is `posix`'s), and be a public class or function, no method of one.
"""

import importlib
import inspect
import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import hydra_slayer
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from catalyst_cityscapes.recipe.nodes import user_code
from catalyst_cityscapes.recipe.nodes.allow_list import (
    ALLOWED,
    FACTORIES,
    REFUSED_ARGUMENTS,
    is_allowed,
    reason_against,
    within,
)
from catalyst_cityscapes.recipe.nodes.kinds import is_plain, kind_problem
from catalyst_cityscapes.recipe.nodes.renamed import current_name
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.base.safe.torch_load import no_pickled_code

SUPPLIED = {("optimizer",): {"params"}, ("optimizer", "groups"): {"model", "lr", "weight_decay"}}
"""Arguments that the runner adds when it builds a node."""

SCHEDULERS = "torch.optim.lr_scheduler"
"""Whose schedulers get their optimiser from the callback that steps them, wherever their nodes stand."""

NODE_KEYS = ("_target_", "_mode_")
OWN_PACKAGES = ("catalyst_cityscapes.", "semseg_ref.")
ErrorAt = Callable[..., InputError]


def resolve_target(name: str, trusted: Sequence[str] = ()) -> Callable:
    """The class or function that a `_target_` names.

    Raises:
        InputError: not on the allow-list, not importable, no such attribute (with the nearest), or no public class or
            function.
    """
    name = current_name(name)
    if name in FACTORIES:
        return locate(name)[1]
    if not within(name, (*ALLOWED, *trusted)):
        of_torch = f"; of torch itself {', '.join(FACTORIES)}" if name.startswith("torch.") else ""
        raise InputError(
            f"target '{name}' is outside the allowed packages ({', '.join((*ALLOWED, *trusted))}{of_torch}); "
            f"--trust {name.split('.')[0]} allows it for this run"
        )
    holder, found = locate(name, trusted)
    if not callable(found):
        raise InputError(f"target '{name}' is not a class or function, but {type(found).__name__}")
    module = getattr(found, "__module__", None) or ""
    if not within(module, (*ALLOWED, *trusted)):
        raise InputError(f"target '{name}' is defined in '{module}', which is outside the allowed packages")
    if within(module, trusted):
        return found
    for path in (name, module, f"{module}.{getattr(found, '__qualname__', '')}"):
        if not is_allowed(path):
            raise InputError(f"target '{name}' is outside the allowed packages: {module} {reason_against(path)}")
    if inspect.isclass(holder) or not (inspect.isclass(found) or inspect.isroutine(found)):
        raise InputError(f"target '{name}' is not a class or function of a module, but a method or an object")
    if any(part.startswith("_") for part in name.split(".")):
        raise InputError(f"target '{name}' is private: a part of its name starts with '_'")
    if hasattr(found, "get_from_params"):
        raise InputError(f"target '{name}' builds further components by itself, past the allowed packages")
    return found


def locate(name: str, trusted: Sequence[str] = ()) -> tuple[Any, Any]:
    """What a dotted name stands for, and the module or class that it was found in; not checked against the allow-list.

    `trusted` is for the messages.

    Raises:
        InputError: not importable, or no such attribute (with the nearest).
    """
    if name in FACTORIES:
        factories = importlib.import_module("catalyst_cityscapes.recipe.nodes.torch_factories")
        return factories, getattr(factories, name.removeprefix("torch."))
    parts = name.split(".")
    found, used = _import_longest(parts, trusted)
    holder = None
    for index in range(used, len(parts)):
        if not hasattr(found, parts[index]):
            valid = [n for n in dir(found) if not n.startswith("_")]
            where = ".".join(parts[:index])
            raise InputError(
                f"target '{name}' does not exist: '{where}' has no '{parts[index]}'{_nearest(parts[index], valid)}"
            )
        holder, found = found, getattr(found, parts[index])
    return holder, found


def _nearest(name: str, valid: list[str]) -> str:
    hint = did_you_mean(name, valid)
    return hint if "did you mean" in hint else ""


def _import_longest(parts: list[str], trusted: Sequence[str]) -> tuple[Any, int]:
    wanted = ".".join(parts)
    for used in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:used])
        try:
            return importlib.import_module(module), used
        except ModuleNotFoundError as error:
            # A missing parent means a shorter path; a missing dependency is the user's to install.
            if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
                missing = str(error.name)
                hint = user_code.hint_for(missing.partition(".")[0], trusted)
                raise InputError(f"target '{wanted}' needs the package '{missing}', not installed{hint}") from error
            if used == 1:
                hint = user_code.hint_for(parts[0], trusted)
                raise InputError(f"target '{wanted}' needs the package '{parts[0]}', not installed{hint}") from error
        except ImportError as error:
            raise InputError(f"target '{wanted}': {module} cannot be imported ({error})") from error
        except (Exception, SystemExit) as error:  # a script without a guard may end python
            if not user_code.is_user_file(parts[0]):
                raise
            raise InputError(f"target '{wanted}': {module} cannot be imported ({_where(error)})") from error
    raise InputError(f"target '{wanted}' is no dotted name")


def _where(error: BaseException) -> str:
    """An error of a user's module, with the place in it."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):  # says its place itself
        return said
    # What a module gives this project wrongly is refused here, but stands there.
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if not _is_ours(frame.filename)), frames[-1])
    return f"{said}; {place.filename}, line {place.lineno}"


def _is_ours(file: str) -> bool:
    is_generated = file.startswith("<")  # as the __init__ of a dataclass
    return is_generated or Path(__file__).parents[2] in Path(file).parents


def walk_mappings(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Every mapping in `value`, with its key path, outermost first."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from walk_mappings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk_mappings(inner, (*path, index))


def walk_nodes(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, dict[str, Any]]]:
    """Every mapping with a `_target_` in `value`, with its key path, outermost first."""
    return ((place, mapping) for place, mapping in walk_mappings(value, path) if "_target_" in mapping)


def target_names(recipe: Recipe) -> list[str]:
    """All `_target_`s of a checked recipe."""
    return [node["_target_"] for _, node in walk_nodes(recipe.model_dump(mode="json"))]


def check_nodes(recipe: Recipe, error_at: ErrorAt, trusted: Sequence[str] = ()) -> None:
    """Checks every node of a recipe before anything is built: target, argument names, required arguments."""
    components = [key for key, node in recipe.callbacks.items() if node is None or "_target_" in node]
    for key in recipe.callbacks:
        if key not in components:
            raise error_at(("callbacks", key), f"a new component needs a '_target_'{did_you_mean(key, components)}")
    for name in ("augmentation", "model", "criterion", "optimizer", "callbacks"):
        section = getattr(recipe, name)
        for path, mapping in walk_mappings(section, (name,)):
            _check_special_keys(path, mapping, error_at)
        targets = [
            (path, node, _check_node(path, node, error_at, trusted)) for path, node in walk_nodes(section, (name,))
        ]
        # Afterwards, so that a node where none may be is refused for what it names, if that is worse.
        if name == "callbacks":
            # Here and below at its use, because these need Catalyst or torch, for which a misspelt key does not wait.
            from catalyst_cityscapes.recipe.nodes.step_owners import check_roles

            check_roles(targets, error_at)
        if name in ("callbacks", "criterion"):
            from catalyst_cityscapes.recipe.nodes.tensor_arguments import check_tensor_arguments

            losses = [entry for entry in targets if name == "criterion" or "criteria" in entry[0]]
            for path, node, target in losses:
                check_tensor_arguments(path, node, target, recipe.data.classes, error_at)
        for path, node, target in targets:
            if target.__module__.startswith(OWN_PACKAGES):
                _check_types(path, node, target, error_at)
            if node["_target_"] in FACTORIES:
                _check_factory(path, node, target, error_at)


def _check_special_keys(path: tuple, mapping: dict[str, Any], error_at: ErrorAt) -> None:
    # In plain mappings too: hydra-slayer has more such keys (_var_, _meta_factory_), and those change what is built.
    for key in mapping:
        if not isinstance(key, str):
            raise error_at((*path, key), f"expected a name, got {key!r}; quote it")
        if key.startswith("_") and key not in NODE_KEYS:
            raise error_at((*path, key), f"unknown key{did_you_mean(key, NODE_KEYS)}")
        if key == "_mode_" and "_target_" not in mapping:
            raise error_at((*path, key), "goes with a '_target_'")


def is_scheduler(target: Callable) -> bool:
    """Whether a target is a scheduler of torch or made from one."""
    return inspect.isclass(target) and any(base.__module__ == SCHEDULERS for base in target.__mro__)


def refused_argument(target: Callable, arguments: Iterable[str]) -> str | None:
    """The first of a target's arguments that no recipe may give, and why."""
    for module, argument in REFUSED_ARGUMENTS:
        if target.__module__ == module and argument in arguments:
            return f"{argument} {REFUSED_ARGUMENTS[module, argument]}, which no recipe may have"
    return None


def _check_node(path: tuple, node: dict[str, Any], error_at: ErrorAt, trusted: Sequence[str]) -> Callable:
    if not isinstance(node["_target_"], str):
        raise error_at((*path, "_target_"), f"expected a dotted name, got {node['_target_']!r}")
    try:
        target = resolve_target(node["_target_"], trusted)
    except InputError as error:
        raise error_at((*path, "_target_"), str(error)) from error
    refused = refused_argument(target, node)
    if refused and not within(target.__module__, trusted):
        raise error_at(path, refused)
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # built-in callables without a signature are checked when they are built
        return target
    arguments = [key for key in node if key not in NODE_KEYS]
    names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    settable = _settable(target) if within(target.__module__, ("transformers",)) else []
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    supplied = SUPPLIED.get(path, set()) | ({"optimizer"} if is_scheduler(target) else set())
    special = {"groups"} if path == ("optimizer",) else set()
    for key in arguments:
        if key in supplied:
            raise error_at((*path, key), "unknown argument; the runner sets it")
        if key not in (*names, *settable, *special) and not open_ended:
            raise error_at(
                (*path, key), f"unknown argument{did_you_mean(str(key), [*set(names) - supplied, *special, *settable])}"
            )
    for name in names:
        required = parameters[name].default is inspect.Parameter.empty
        if required and name not in arguments and name not in supplied and node.get("_mode_") != "partial":
            itself = "; for the function itself add _mode_: partial" if path[0] == "augmentation" else ""
            hint = "" if inspect.isclass(target) else itself
            raise error_at(path, f"missing argument '{name}' of {node['_target_']}{hint}")
    problem = kind_problem(path, node, target)
    if problem:
        raise error_at(path, problem)
    return target


def _settable(target: Callable) -> list[str]:
    # A configuration of transformers takes its settable properties (num_labels) as arguments, and its signature does
    # not say so; whatever else it is given it keeps without a word.
    public = (name for name in dir(target) if not name.startswith("_"))
    return [name for name in public if getattr(getattr(target, name), "fset", None) is not None]


def _check_types(path: tuple, node: dict[str, Any], target: Callable, error_at: ErrorAt) -> None:
    # Of our own components only: other projects' annotations are often narrower or wider than their code.
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in node.items():
        if key not in hints or (any(True for _ in walk_nodes(value)) and not is_plain(hints[key])):
            continue
        try:
            # As JSON, since a strict check of python values would refuse YAML's lists where a tuple is asked for.
            config = ConfigDict(arbitrary_types_allowed=True)
            TypeAdapter(hints[key], config=config).validate_json(json.dumps(value, default=str), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            said = "Input should be a '_target_'" if first["type"] == "needs_python_object" else first["msg"]
            raise error_at((*path, key), f"{said} (got {value!r})", True) from error
        except PydanticUserError:
            continue


def _check_factory(path: tuple, node: dict[str, Any], target: Callable, error_at: ErrorAt) -> None:
    from catalyst_cityscapes.recipe.nodes.torch_factories import factory_problem

    if node.get("_mode_") == "partial":
        raise error_at((*path, "_mode_"), f"{node['_target_']} makes a tensor here; leave it out")
    problem = factory_problem(target, {key: value for key, value in node.items() if key not in NODE_KEYS})
    if problem:
        raise error_at(path, f"{node['_target_']}: {problem}")


def without_pretrained(node: dict[str, Any], pretrained: str | None = None) -> dict[str, Any]:
    """A checked network's node that reads no weights, or those of the file `pretrained`, whatever it says itself."""
    # A network's own default may be to read an ImageNet file.
    target = locate(node["_target_"])[1]
    arguments = inspect.signature(target).parameters
    defaults: dict[str, Any] = {"pretrained": pretrained or False, "encoder_weights": None}
    if target.__module__.startswith("torchvision."):
        defaults |= {"weights": None, "weights_backbone": None}
    inner = {
        key: without_pretrained(value) if isinstance(value, dict) and "_target_" in value else value
        for key, value in node.items()
    }
    return {**inner, **{name: value for name, value in defaults.items() if name in arguments}}


def build(node: dict[str, Any], path: str, **supplied: Any) -> Any:
    """Builds a checked node with hydra-slayer, in a registry of its own; functions are called, not wrapped.

    Whatever a component loads by itself is read without running pickled code.

    Raises:
        InputError: naming `path`, when the constructor refuses its arguments.
    """
    prepared = {**_called(node), **supplied}
    if path in ("criterion", "augmentation") or "criteria" in node:
        from catalyst_cityscapes.recipe.nodes.tensor_arguments import with_tensors

        prepared = with_tensors(prepared, lambda name: locate(name)[1])
    try:
        with no_pickled_code():
            # Below a key of its own: hydra-slayer takes an argument `shared_params` of the outermost node for its own.
            return TargetRegistry().get_from_params(node=prepared)["node"]
    except Exception as error:
        cause = error.__cause__ or error
        while not isinstance(cause, InputError) and cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(cause).split()) or f"{type(cause).__name__}, without a word: it takes no such arguments"
        raise InputError(f"{path}: {node['_target_']}: {said}") from error


class TargetRegistry(hydra_slayer.Registry):
    """Builds nodes; a name means what the checks took it for, where hydra-slayer looks it up by other rules."""

    def get(self, name: str) -> Any:
        """The class or function."""
        return locate(name)[1]


def _called(value: Any) -> Any:
    # hydra-slayer turns a function into a partial unless told to call it. A scheduler's optimiser is there later.
    if isinstance(value, dict):
        result = {key: _called(inner) for key, inner in value.items()}
        if "_target_" in result:
            result.setdefault("_mode_", "partial" if is_scheduler(locate(result["_target_"])[1]) else "call")
        return result
    if isinstance(value, list):
        return [_called(inner) for inner in value]
    return value
