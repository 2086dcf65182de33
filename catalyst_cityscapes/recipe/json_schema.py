"""A JSON schema (draft 2020-12) of recipe files, from which editors complete keys and arguments and mark misspelt ones.

A file may be an overlay, a part or a whole recipe, so no key is required, and a `${...}` may stand for any value. A
node of a shipped component (`SOURCES`) takes the component's arguments, a node of any other what it likes. A mapping
without a `_target_` merges with a node of another file, which no schema can follow: it takes the arguments of what the
shipped recipes have at its key, and at a key of the user's those of all shipped components that may stand there.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from catalyst_cityscapes.recipe.loading import read_yaml
from catalyst_cityscapes.recipe.nodes.allow_list import within
from catalyst_cityscapes.recipe.nodes.kinds import is_plain, kind_problem
from catalyst_cityscapes.recipe.nodes.renamed import RENAMED, current_name
from catalyst_cityscapes.recipe.nodes.targets import OWN_PACKAGES, SUPPLIED, resolve_target, walk_nodes
from catalyst_cityscapes.recipe.places import CONFIGS, shipped_configs, shipped_parts
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError

SCHEMA_FILE = CONFIGS / "recipe.schema.json"
"""The committed schema, which every shipped recipe names in its first line."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
Sources = tuple[tuple[str, str], ...]

AUGMENTATION: Sources = (
    ("catalyst_cityscapes.data.augmentation", ""),
    ("catalyst_cityscapes.data.augmentation.mmseg", "^[A-Z]"),
    ("semseg_ref.transform", ""),
)
SOURCES: Mapping[str, Sources] = {
    "augmentation": AUGMENTATION,
    "augmentation.steps.*": AUGMENTATION,
    "model": (
        ("catalyst_cityscapes.models", ""),
        ("catalyst_cityscapes.models.mmseg", ""),
        ("segmentation_models_pytorch", "^[A-Z]"),
        ("torchvision.models.segmentation", "^[a-z]"),
    ),
    "criterion": (("torch.nn", "Loss$"), ("catalyst_cityscapes.losses", "^[A-Z]")),
    "optimizer": (("torch.optim", "^[A-Z](?!ptimizer$)"), ("catalyst_cityscapes.optim", "^[A-Z]")),
    "optimizer.groups": (("catalyst_cityscapes.optim", "^[a-z]"),),
    "callbacks.*": (("catalyst_cityscapes.callbacks", "^[A-Z]"),),
}
"""Place of a node -> packages with components for it, each with a pattern of their names; `*` is a name of any kind."""
NULLABLE = ("augmentation.steps.*", "callbacks.*", "optimizer.groups")
"""Places that null leaves empty."""
COMPLETE = r"(catalyst_cityscapes|semseg_ref)\.|torch\.optim\.[A-Z]|torch\.nn\.[A-Z]"
"""Beginnings of names of which the schema knows all that fit a place, so that any other is misspelt."""

REFERENCE = {"type": "string", "pattern": r"\$\{"}
NODE = {"_target_": True, "_mode_": True}
IS_NAMED = {"type": "object", "required": ["_target_"]}
IS_UNNAMED = {"type": "object", "not": {"required": ["_target_"]}}


def recipe_schema() -> Schema:
    """The schema as JSON has it. It describes the components that are installed: optional packages may be missing."""
    generated = Recipe.model_json_schema()
    definitions: Schema = {name: _object(section) for name, section in generated["$defs"].items()}
    sections = {name: _value(section) for name, section in generated["properties"].items()}
    shipped = _shipped_nodes()
    for place, sources in SOURCES.items():
        found = _components(place, sources)
        for name, target in found.items():
            definitions.setdefault(name, _component(place, name, target))
        definitions[place] = _node(place, found)
        definitions[f"{place}.unnamed"] = _merged(definitions[name] for name in found)
        parent, _, last = place.rpartition(".")
        if last == "*":
            known = shipped.get(parent, {})
            definitions[parent] = {
                **_or_reference("object"),
                "properties": {key: _at_key(place, names, definitions) for key, names in known.items()},
                "additionalProperties": _place(place, _reference_to(f"{place}.unnamed")),
            }
        elif place in sections:
            sections[place] = _place(place, _reference_to(f"{place}.unnamed"))
    sections["callbacks"] = _reference_to("callbacks")
    bases = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {
        "$schema": DRAFT,
        "title": "recipe of catalyst-dl",
        "type": "object",
        "properties": {
            "base": {
                "description": "Recipes that this one lies on: files beside it, or names of shipped ones.",
                "anyOf": [{"type": ["string", "null"]}, bases],
            },
            **sections,
        },
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """`recipe_schema` as a file: a line a definition, so that a change is one line."""
    schema = recipe_schema()
    definitions = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in schema.pop("$defs").items()]
    head = json.dumps(schema, indent=1).removesuffix("\n}")
    return head + ',\n "$defs": {\n  ' + ",\n  ".join(definitions) + "\n }\n}\n"


# -- sections ------------------------------------------------------------------------------------------------------
def _object(schema: Schema) -> Schema:
    """A section that may be there in part."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "required")} | _or_reference("object")
    return kept | {"properties": {name: _value(value) for name, value in schema["properties"].items()}}


def _value(schema: Schema) -> Schema:
    """A value or a `${...}`; without pydantic's titles, its lists in a form that editors know from older drafts."""
    schema = {key: value for key, value in schema.items() if key != "title"}
    if isinstance(schema.get("default"), dict):
        del schema["default"]
    if "prefixItems" in schema:
        parts = schema.pop("prefixItems")
        schema["items"] = parts[0] if all(part == parts[0] for part in parts) else {"anyOf": parts}
    if isinstance(schema.get("items"), dict):
        schema["items"] = _value(schema["items"])
    if "anyOf" in schema:
        options = [_value(option) for option in schema["anyOf"]]
        return schema | {"anyOf": options}
    if "enum" in schema or "const" in schema or ("pattern" in schema and schema.get("type") == "string"):
        outside = {key: schema.pop(key) for key in ("description", "default") if key in schema}
        return {**outside, "anyOf": [schema, REFERENCE]}
    if schema.get("type") in ("array", "boolean", "integer", "number", "object"):
        return schema | _or_reference(schema["type"])
    return schema


def _or_reference(*types: str) -> Schema:
    # A pattern is asked of texts only, as other limits are of what they are for; the message is yaml-language-server's.
    message = f"expected {' or '.join(types)}, or a ${{...}}"
    return {"type": [*types, "string"], "pattern": REFERENCE["pattern"], "patternErrorMessage": message}


# -- components ----------------------------------------------------------------------------------------------------
def _components(place: str, sources: Sources) -> dict[str, Callable]:
    """Public name -> class or function, of all that may stand at a place."""
    found = {}
    path = tuple(place.split("."))
    for package, pattern in sources:
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError:  # an optional one
            continue
        for name in sorted(vars(module)):
            if not re.search(pattern, name) or not within(
                getattr(vars(module)[name], "__module__", "") or "", [package]
            ):
                continue
            try:
                target = resolve_target(f"{package}.{name}")
            except InputError:
                continue
            if kind_problem(path, {"_target_": name}, target) is None:
                found[f"{package}.{name}"] = target
    return found


def _component(place: str, name: str, target: Callable) -> Schema:
    """A node of a component: its arguments, without those that the runner adds."""
    parameters = inspect.signature(target).parameters.values()
    hints: dict[str, Any] = {}
    if name.startswith(
        OWN_PACKAGES
    ):  # of our own only: others' annotations are often narrower or wider than their code
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    supplied = SUPPLIED.get(tuple(place.split(".")), ())
    arguments = {
        each.name: _argument(each, hints.get(each.name))
        for each in parameters
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name not in supplied
    }
    if place == "optimizer":
        arguments["groups"] = _place("optimizer.groups", _reference_to("optimizer.groups.unnamed"))
    if place.startswith("augmentation") and "steps" in arguments:
        arguments["steps"] = _reference_to("augmentation.steps")
    said = (inspect.getdoc(target) or "").strip().partition("\n")[0]
    return {
        **({"description": said} if said else {}),
        "type": "object",
        "properties": {**NODE, **arguments},
        "additionalProperties": any(each.kind is each.VAR_KEYWORD for each in parameters),
    }


def _argument(parameter: inspect.Parameter, hint: Any) -> Schema:
    schema = _value(TypeAdapter(hint).json_schema()) if hint is not None and is_plain(hint) else {}
    if parameter.default is parameter.empty:
        return schema
    try:
        default = json.loads(json.dumps(parameter.default, allow_nan=False))
    except (TypeError, ValueError):  # an object of the library
        return schema
    return schema | {"default": default}


def _merged(components: Iterable[Schema]) -> Schema:
    """A mapping that may have the arguments of any of the components, where it is not said which one it is."""
    arguments: dict[str, list[Schema]] = {}
    for component in components:
        for name, schema in component["properties"].items():
            if name not in NODE:
                arguments.setdefault(name, []).append({k: v for k, v in schema.items() if k != "default"})
    alike = {name: each[0] if all(one == each[0] for one in each) else {} for name, each in arguments.items()}
    return {"type": "object", "properties": alike, "additionalProperties": False}


# -- places --------------------------------------------------------------------------------------------------------
def _node(place: str, components: Mapping[str, Callable]) -> Schema:
    """What may stand at a place that names its component: each known one with its arguments, any other with any."""
    spellings = {name: [name, *_other_names(name, target)] for name, target in components.items()}
    others = [re.escape(other) for names in spellings.values() for other in names[1:]]
    names = {
        "anyOf": [
            {"enum": list(spellings)},
            {"type": "string", "pattern": rf"^(?!{COMPLETE})"},
            *([{"type": "string", "pattern": f"^({'|'.join(others)})$"}] if others else []),
        ]
    }
    return {
        **_or_reference("object", *(["null"] if place in NULLABLE else [])),
        "properties": {"_target_": names, "_mode_": {"enum": ["call", "partial"]}},
        "allOf": [
            {
                "if": {**IS_NAMED, "properties": {"_target_": {"enum": names}}},
                "then": _reference_to(name),
            }
            for name, names in spellings.items()
        ],
    }


def _other_names(name: str, target: Callable) -> list[str]:
    """Where it is defined, and the names that it had before it moved."""
    defined = f"{target.__module__}.{target.__qualname__}"
    current = [name, *([defined] if defined != name else [])]
    old = [
        before + each.removeprefix(now)
        for each in current
        for before, now in RENAMED.items()
        if within(each, (now,)) and current_name(before + each.removeprefix(now)) == each
    ]
    return [*current[1:], *old]


def _place(place: str, unnamed: Schema) -> Schema:
    return {"allOf": [_reference_to(place), {"if": IS_UNNAMED, "then": unnamed}]}


def _at_key(place: str, names: Iterable[str], definitions: Schema) -> Schema:
    """A place below a key at which shipped recipes have the components of these names."""
    known = [definitions[name] for name in sorted(names) if name in definitions]
    return _place(place, _merged(known) if known else {})


def _shipped_nodes() -> dict[str, dict[str, set[str]]]:
    """Path of a mapping, such as `augmentation.steps` -> key -> what the shipped recipes name there."""
    found: dict[str, dict[str, set[str]]] = {}
    for name in (*shipped_configs(), *shipped_parts()):
        for path, node in walk_nodes(read_yaml(CONFIGS / name)):
            *parent, key = map(str, path)
            found.setdefault(".".join(parent), {}).setdefault(key, set()).add(current_name(str(node["_target_"])))
    return found


def _reference_to(definition: str) -> Schema:
    return {"$ref": f"#/$defs/{definition}"}
