"""From files and `--set` to one merged and checked recipe; the origin of each value is kept for messages."""

import copy
import difflib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from catalyst_cityscapes.recipe.length import complete_intervals, without_other_unit
from catalyst_cityscapes.recipe.nodes.targets import check_nodes
from catalyst_cityscapes.recipe.nodes.user_code import make_importable
from catalyst_cityscapes.recipe.normalisation import check_stated
from catalyst_cityscapes.recipe.places import CONFIGS, PARTS, shipped_config, shipped_configs, shipped_parts
from catalyst_cityscapes.recipe.protocols import complete_protocol, without_renamed_protocol
from catalyst_cityscapes.recipe.references import check_values
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, OptionError, did_you_mean
from semseg_ref.base.safe.yaml import MAX_DEPTH, yaml_problem

ANY_SIZE = (1024, 2048)
REFERENCE = re.compile(r"\$\{([^\s${}.][^\s${}]*)\}")
MAX_REFERENCES = 10
MAX_LAYERS = 100
MAX_BASE_DEPTH = 10
# A number of thousands of digits is a ValueError, a key that cannot be hashed a TypeError.
UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, TypeError, RecursionError)


@dataclass(frozen=True)
class Source:
    """One layer of a recipe: a file, or the `--set` options; `folder` is the file's."""

    name: str
    content: dict[str, Any]
    folder: Path | None = None


@dataclass(frozen=True)
class Layers:
    """The layers of a recipe in the order they were given."""

    sources: list[Source] = field(default_factory=list)

    def merged(self) -> dict[str, Any]:
        """All layers overlaid; interpolations are not resolved yet."""
        result: dict[str, Any] = {}
        for source in self.sources:
            below = without_other_unit(without_renamed_protocol(result, source.content), source.content)
            result = overlay(below, source.content)
        return result

    def origin(self, path: Sequence[Any]) -> str:
        """Name of the last layer that sets `path`, or its nearest parent."""
        best, depth = self.sources[-1].name if self.sources else "recipe", 0
        for source in self.sources:
            node: Any = source.content
            reached = 0
            for key in path:
                if not isinstance(node, dict) or key not in node:
                    break
                node = node[key]
                reached += 1
            if reached and reached >= depth:
                best, depth = source.name, reached
        return best

    def followed(self, path: Sequence[Any]) -> tuple:
        """The path where the value at `path` is written: that of the key that it refers to, when it is a reference."""
        path = tuple(path)
        for _ in range(MAX_REFERENCES):
            node: Any = self.merged()
            rest = list(path)
            while rest and isinstance(node, dict) and rest[0] in node:
                node = node[rest.pop(0)]
            reference = REFERENCE.fullmatch(node) if isinstance(node, str) else None
            if reference is None:
                return path
            path = (*reference[1].split("."), *rest)
        return path

    def error(self, path: Sequence[Any], message: str, of_value: bool = False) -> InputError:
        """An error that names the layer, the key path and what is wrong there; `of_value` follows references."""
        if of_value:
            path = self.followed(path)
        return InputError(f"{self.origin(path)}: {'.'.join(map(str, path)) or 'recipe'}: {message}")


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top.

    Mappings merge key by key; a mapping that names a `_target_`, a list or a scalar replaces what was there.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "_target_" not in value:
            result[key] = overlay(old, value)
        else:
            result[key] = value
    return result


def find_config(name: str) -> Path:
    """A config by path, or by its name below `catalyst_cityscapes/configs`, with or without `.yml`."""
    path = Path(name)
    for candidate in (path, shipped_config(name)):
        if os.path.isfile(candidate):
            return candidate
    raise InputError(f"{name}: no such config (searched {path.absolute()} and {CONFIGS}){_nearest_config(path)}")


def _nearest_config(path: Path) -> str:
    # Compared without their folder: its name alone makes all of it near, and another folder's of that name nearer.
    shipped, wanted = shipped_configs(), path.name.removesuffix(".yml")
    beside = [Path(each).stem for each in shipped if path.parent.parts and Path(each).parent == path.parent]
    near = difflib.get_close_matches(wanted, beside, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{path.parent}/{near[0]}.yml'?"
    if beside and not any(Path(each).stem == wanted for each in shipped):
        return f"; {path.parent} has {', '.join(sorted(beside))}"
    return did_you_mean("/".join((*path.parent.parts[-1:], f"{wanted}.yml")), shipped)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, read without running code; duplicate keys are errors."""
    try:
        problem, content = _parsed(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if problem:
        raise InputError(f"{path}: {problem}; this is no recipe")
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected a YAML mapping of recipe keys ({', '.join(Recipe.model_fields)})")
    return copy.deepcopy(content)


@lru_cache(maxsize=128)
def _parsed(text: str) -> tuple[str | None, Any]:
    """What keeps a YAML text from being a recipe, if anything, and its content, which is not to be changed.

    Kept, because the cells of a plan and the rungs of a ladder read the same few files again and again, and parsing
    is most of what a recipe takes to load.
    """
    problem = yaml_problem(text)
    return problem, None if problem else OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`key.path=value` options as a nested mapping; values are read as YAML scalars or lists."""
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or not key or key != key.strip() or ".." in f".{key}." or key.count(".") > MAX_DEPTH:
            raise InputError(f"--set {setting}: expected key.path=value, e.g. --set optimizer.lr=0.02")
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(list(settings)), resolve=False)
    except UNREADABLE as error:
        raise InputError(f"--set {' '.join(settings)}: {' '.join(str(error).split())}") from error


def read_with_base(path: Path, name: str) -> list[Source]:
    """A config file as layers: first those of the files that its top-level key `base` names, then itself.

    `base` is one name or a list of names: each a file relative to the config, or the name of a shipped one. Earlier
    ones come first, as if all were given to `--config` in this order, so a file that comes in by two ways is laid on
    twice.

    Args:
        path: the file.
        name: what messages call it.

    Raises:
        InputError: a file that is no config; a base that is no text, is missing, or leads back to its own file; more
            than `MAX_LAYERS` files, or bases of bases in more than `MAX_BASE_DEPTH` levels.
    """
    layers: list[Source] = []
    _add_layers(path, name, (), layers, {})
    return layers


def _add_layers(
    path: Path, name: str, above: tuple[Path, ...], layers: list[Source], known: dict[Path, dict[str, Any]]
) -> None:
    """Appends a file's layers; `above` holds the files whose bases are being read, `known` what was read already."""
    file = path.resolve()
    if file not in known:
        known[file] = read_yaml(path)
    for key, entry in _bases(known[file], name):
        base, base_name = _find_base(path.parent, entry, f"{name}: {key}")
        if base.resolve() in (file, *above):
            raise InputError(f"{name}: {key}: {entry} leads back to itself")
        if len(above) + 1 >= MAX_BASE_DEPTH:
            raise InputError(f"{name}: {key}: {entry}: bases of bases in more than {MAX_BASE_DEPTH} levels")
        if len(layers) + len(above) + 1 >= MAX_LAYERS:
            raise InputError(f"{name}: {key}: {entry}: more than {MAX_LAYERS} files, repeats counted")
        _add_layers(base, base_name, (*above, file), layers, known)
    layers.append(Source(name, {key: value for key, value in known[file].items() if key != "base"}, path.parent))


def _bases(content: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """(`base` or `base[i]`, what is written there) of each base of a config."""
    given = content.get("base")
    if given is None:
        return []
    expected = "expected the name of a file beside it or of a shipped recipe, or a list of such names"
    if given == []:
        raise InputError(f"{name}: base: an empty list; {expected}")
    entries = [(f"base[{i}]", entry) for i, entry in enumerate(given)] if isinstance(given, list) else [("base", given)]
    for key, entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            shown = repr(entry) if isinstance(entry, (str, int, float, type(None))) else f"a {type(entry).__name__}"
            raise InputError(f"{name}: {key}: {shown} is no name; {expected}")
    return entries


def _find_base(folder: Path, entry: str, place: str) -> tuple[Path, str]:
    """The file of a base, and what messages call it; a file relative to `folder` comes before a shipped one."""
    beside = folder / entry
    for path, name in (
        (beside, str(beside)),
        (shipped_config(entry), entry),
    ):
        if os.path.isfile(path):
            return path, name
    if os.path.isfile(f"{beside}.yml"):
        raise InputError(f"{place}: no such file {beside}; did you mean '{entry}.yml'?")
    shipped = [*shipped_configs(), *shipped_parts()]
    if not entry.endswith(".yml"):
        shipped = [name.removesuffix(".yml") for name in shipped]
    # Only a folder is searched: a name longer than a file's may be is an error of glob's.
    files = beside.parent.glob("*.yml") if os.path.isdir(beside.parent) else ()
    near = [str(Path(entry).parent / path.name) for path in files]
    raise InputError(f"{place}: no such file {beside}, and no shipped one{did_you_mean(entry, [*near, *shipped])}")


def load_layers(configs: Sequence[str | Path], settings: Sequence[str] = ()) -> Layers:
    """Reads config files in order, each after its base, then the `--set` options."""
    sources = []
    for name in configs:
        sources += read_with_base(find_config(str(name)), str(name))
    if settings:
        sources.append(Source("--set", parse_settings(settings)))
    return Layers(sources)


def _resolve(layers: Layers) -> dict[str, Any]:
    merged = layers.merged()
    check_values(merged, layers.error)
    try:
        return OmegaConf.to_container(OmegaConf.create(merged), resolve=True)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "")
        message = " ".join(str(error).split("full_key:")[0].split())
        raise layers.error(key.split(".") if key else (), message) from error


def resolve_recipe(layers: Layers, trusted: Sequence[str] = ()) -> Recipe:
    """Merges, resolves and validates: sections against the schema, every node against its target's signature.

    Args:
        layers: the recipe's files and settings.
        trusted: packages allowed beside the standing list (`--trust`).

    Raises:
        InputError: naming file, key path and the nearest valid name.
    """
    folders = (source.folder for source in layers.sources if source.folder is not None)
    make_importable(trusted, (folder for folder in folders if not folder.resolve().is_relative_to(CONFIGS)))
    _refuse_a_part(layers)
    content = _resolve(layers)
    complete_protocol(content, layers.origin, layers.error)
    complete_intervals(content)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; its own message says more.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _schema_error(details[0], layers) from error
    check_nodes(recipe, layers.error, trusted)
    check_stated(recipe, layers.error)
    # Here, because it needs torch, for which a misspelt key does not wait.
    from catalyst_cityscapes.recipe.consistency import check_sizes

    check_sizes(recipe, layers.error)
    try:
        recipe.protocol.value(ANY_SIZE)
    except OptionError as error:
        message = str(error).removeprefix("protocol: ")
        key, _, rest = message.partition(" ")
        if key in type(recipe.protocol).model_fields:
            raise layers.error(("protocol", key), rest, of_value=True) from error
        raise layers.error(("protocol",), message) from error
    return recipe


def _refuse_a_part(layers: Layers) -> None:
    # References of a part lead to sections that it does not have; that is not what is wrong.
    files = [source for source in layers.sources if source.folder is not None]
    if files and all(source.folder.resolve().is_relative_to(PARTS) for source in files):
        merged = layers.merged()
        missing = [key for key, info in Recipe.model_fields.items() if info.is_required() and key not in merged]
        if missing:
            raise InputError(
                f"{files[-1].name}: a part of a recipe, to be named under `base:`; missing: {', '.join(missing)}. "
                "Give a whole recipe, e.g. cityscapes/pspnet50"
            )


def load_recipe(configs: Sequence[str | Path], settings: Sequence[str] = (), trusted: Sequence[str] = ()) -> Recipe:
    """`load_layers` and `resolve_recipe` in one call."""
    return resolve_recipe(load_layers(configs, settings), trusted)


def _set_keys(section: dict[str, Any]) -> set[str]:
    return {key for key, value in section.items() if value is not None}


def _schema_error(detail: ErrorDetails, layers: Layers) -> InputError:
    path = tuple(key for key in detail["loc"] if not str(key).startswith(("function-", "dict[", "tuple[", "nullable[")))
    if detail["type"] == "extra_forbidden":
        section = Recipe
        for key in path[:-1]:
            annotation = section.model_fields[key].annotation
            section = annotation if hasattr(annotation, "model_fields") else Recipe
        valid = [info.alias or name for name, info in section.model_fields.items()]
        return layers.error(path, f"unknown key{did_you_mean(str(path[-1]), valid)}")
    given = detail.get("input")
    if path == ("experiment",) and isinstance(given, dict) and not {"epochs", "iterations"} & _set_keys(given):
        path = ("experiment", "epochs")
        if "epochs" not in given:
            return layers.error(path, "missing; it has no default")
    if detail["type"] == "missing":
        return layers.error(path, "missing; it has no default")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool, list, type(None))) else ""
    message = detail["msg"].removeprefix("Value error, ")
    key = message.partition(":")[0].split(".")
    if not path and key[0] in Recipe.model_fields:
        # What a recipe is refused for as a whole begins with the key to mend.
        path, message = tuple(key), message.partition(": ")[2]
    return layers.error(path, f"{message}{shown}", of_value=True)
