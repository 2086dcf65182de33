"""What of a training depends on a key of a recipe: read off the schema's fields and what components say of themselves.

A callback that does not say its role, and one that cannot be asked because its package is not trusted, is taken for one
that changes everything.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from catalyst_cityscapes.recipe.nodes import user_code
from catalyst_cityscapes.recipe.nodes.targets import resolve_target, target_names
from catalyst_cityscapes.recipe.role import Role, role_of
from catalyst_cityscapes.recipe.schema import Recipe, Section
from semseg_ref.base.errors import InputError

KeyPath = tuple[str, ...]
CALLBACKS = "callbacks"
HARMLESS = 'ROLE = Role("tracker", affects="nothing"), from catalyst_cityscapes.recipe.role (no role is inherited)'


def may_resume(path: KeyPath, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool | str:
    """Whether a run may go on with another value at a key path: no, yes, or yes with a sentence that is told.

    Args:
        path: at which the recipes differ.
        before, now: both recipes as nested mappings.
    """
    answers = [False if role is None else role.resume for role in _roles(path, before, now)]
    if any(answer is False for answer in answers):
        return False
    return "; ".join(dict.fromkeys(answer for answer in answers if isinstance(answer, str))) or True


def control_can_do_without(path: KeyPath, *recipes: Mapping[str, Any]) -> bool:
    """Whether the control arm trains the same numbers whatever stands at a key path in these recipes."""
    return all(role is not None and role.control for role in _roles(path, *recipes))


def is_counted(path: KeyPath, recipe: Mapping[str, Any]) -> bool:
    """Whether a key can change what a recipe trains or scores."""
    return any(role is None or role.counted for role in _roles(path, recipe))


def how_to_say_it(path: KeyPath, *recipes: Mapping[str, Any]) -> str:
    """The tail of a message that refuses a key for being of a callback without a role: what that could say of itself.

    Empty where the key's role is known.
    """
    for node in _callback_nodes(path, *recipes):
        name = node.get("_target_") if isinstance(node, dict) else None
        if callback_role(node) is not None or not isinstance(name, str):
            continue
        try:
            resolve_target(name, user_code.trusted_names())
        except InputError:
            top = name.partition(".")[0]
            return f"; {name} cannot be asked what it affects: --trust {top} allows it for this run"
        return f"; {name} does not say what it affects: a class that changes no number says {HARMLESS}"
    return ""


def callback_role(node: Any) -> Role | None:
    """The role of a callback's node; None where its target says none or cannot be asked, and where it is no node."""
    name = node.get("_target_") if isinstance(node, dict) else None
    if not isinstance(name, str):
        return None
    try:
        target = resolve_target(name, user_code.trusted_names())
    except InputError:  # of another recipe than the one that was checked
        return None
    return role_of(target, node)


def targets_that_matter(recipe: Recipe) -> list[str]:
    """All `_target_`s of a checked recipe but those of callbacks that change nothing."""
    said = {name: callback_role(node) for name, node in recipe.callbacks.items()}
    kept = {name: node for name, node in recipe.callbacks.items() if not (said[name] and said[name].changes_nothing)}
    return target_names(recipe.model_copy(update={"callbacks": kept}))


@cache
def section_role(path: KeyPath) -> Role | None:
    """The role of a key outside the callbacks, as its field of the schema or the nearest one above says it."""
    section, role = Recipe, None
    for key in path:
        fields = {info.alias or name: info for name, info in section.model_fields.items()}
        if key not in fields:
            break
        role = next((said for said in fields[key].metadata if isinstance(said, Role)), role)
        below = _section_in(fields[key].annotation)
        if below is None:
            break
        section = below
    return role


def _section_in(annotation: Any) -> type[Section] | None:
    found = (kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
    return next((kind for kind in found if issubclass(kind, Section)), None)


def _roles(path: KeyPath, *recipes: Mapping[str, Any]) -> list[Role | None]:
    """The roles of a key in the recipes that have something there; a component may say one of its argument."""
    if len(path) == 1:
        return [section_role(path)]
    if path[0] != CALLBACKS:
        said = [_argument_role(recipe.get(path[0]), path[1]) for recipe in recipes]
        return [role for role in said if role is not None] or [section_role(path)]
    roles = [callback_role(node) for node in _callback_nodes(path, *recipes)]
    if len(path) == 2:
        return roles
    return [role and role.arguments.get(path[2], role) for role in roles]


def _argument_role(node: Any, name: str) -> Role | None:
    role = callback_role(node)
    return None if role is None else role.arguments.get(name)


def _callback_nodes(path: KeyPath, *recipes: Mapping[str, Any]) -> list[Any]:
    """What the recipes have at a callback's key, but for null; a checkpoint's recipe may hold anything there."""
    if path[0] != CALLBACKS or len(path) == 1:
        return []
    sections = [recipe.get(CALLBACKS) for recipe in recipes]
    nodes = [section.get(path[1]) for section in sections if isinstance(section, dict)]
    return [node for node in nodes if node is not None]
