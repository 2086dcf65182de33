"""From files and `--set` to one merged and checked recipe; the origin of each value is kept for messages."""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from catalyst_cityscapes.recipe.nodes.targets import check_nodes
from catalyst_cityscapes.recipe.nodes.user_code import make_importable
from catalyst_cityscapes.recipe.normalisation import check_stated
from catalyst_cityscapes.recipe.places import CONFIGS, shipped_configs
from catalyst_cityscapes.recipe.protocols import complete_protocol, without_renamed_protocol
from catalyst_cityscapes.recipe.references import check_values
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, OptionError, did_you_mean
from semseg_ref.base.safe.yaml import MAX_DEPTH, yaml_problem

ANY_SIZE = (1024, 2048)
REFERENCE = re.compile(r"\$\{([^\s${}.][^\s${}]*)\}")
MAX_REFERENCES = 10
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
            result = overlay(without_renamed_protocol(result, source.content), source.content)
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
    for candidate in (path, CONFIGS / name, CONFIGS / f"{name}.yml"):
        if os.path.isfile(candidate):
            return candidate
    wanted = "/".join(path.parts[-2:]).removesuffix(".yml") + ".yml"
    raise InputError(
        f"{name}: no such config (searched {path.absolute()} and {CONFIGS}){did_you_mean(wanted, shipped_configs())}"
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, read without running code; duplicate keys are errors."""
    try:
        text = path.read_text(encoding="utf-8")
        problem = yaml_problem(text)
        content = {} if problem else OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except UNREADABLE as error:
        raise InputError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if problem:
        raise InputError(f"{path}: {problem}; this is no recipe")
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected a YAML mapping of recipe keys ({', '.join(Recipe.model_fields)})")
    return content


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


def read_with_base(path: Path, name: str, below: tuple[Path, ...] = ()) -> list[Source]:
    """A config file as layers: first the file that its top-level key `base` names (relative to it), then itself."""
    content = read_yaml(path)
    base = content.pop("base", None)
    if base is None:
        return [Source(name, content, path.parent)]
    base_path = path.parent / str(base)
    if not os.path.isfile(base_path):
        beside = sorted(p.name for p in base_path.parent.glob("*.yml"))
        raise InputError(f"{name}: base: no such file {base_path}{did_you_mean(base_path.name, beside)}")
    if base_path.resolve() in (path.resolve(), *below):
        raise InputError(f"{name}: base: {base} leads back to itself")
    return [*read_with_base(base_path, str(base_path), (*below, path.resolve())), Source(name, content, path.parent)]


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
    content = _resolve(layers)
    complete_protocol(content, layers.origin, layers.error)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; its own message says more.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _schema_error(details[0], layers) from error
    check_nodes(recipe, layers.error, trusted)
    check_stated(recipe, layers.error)
    try:
        recipe.protocol.value(ANY_SIZE)
    except OptionError as error:
        message = str(error).removeprefix("protocol: ")
        key, _, rest = message.partition(" ")
        if key in type(recipe.protocol).model_fields:
            raise layers.error(("protocol", key), rest, of_value=True) from error
        raise layers.error(("protocol",), message) from error
    return recipe


def load_recipe(configs: Sequence[str | Path], settings: Sequence[str] = (), trusted: Sequence[str] = ()) -> Recipe:
    """`load_layers` and `resolve_recipe` in one call."""
    return resolve_recipe(load_layers(configs, settings), trusted)


def _schema_error(detail: ErrorDetails, layers: Layers) -> InputError:
    path = tuple(key for key in detail["loc"] if not str(key).startswith(("function-", "dict[", "tuple[", "nullable[")))
    if detail["type"] == "extra_forbidden":
        section = Recipe
        for key in path[:-1]:
            annotation = section.model_fields[key].annotation
            section = annotation if hasattr(annotation, "model_fields") else Recipe
        valid = [info.alias or name for name, info in section.model_fields.items()]
        return layers.error(path, f"unknown key{did_you_mean(str(path[-1]), valid)}")
    if detail["type"] == "missing":
        return layers.error(path, "missing; it has no default")
    given = detail.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool, list, type(None))) else ""
    return layers.error(path, f"{detail['msg']}{shown}", of_value=True)
