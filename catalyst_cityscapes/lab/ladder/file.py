"""Ladder files: a ladder whose components are listed by hand, as overlays.

from: cityscapes/pspnet50          # recipe, or a list: a recipe and overlays
set: [experiment.epochs=60]        # settings of all arms, under the components
components:                        # in the order of the path
  weight_decay: swap/weight_decay  # an overlay, a setting (key=value), or a list of them
  warp:
    note: said in the report
    apply: [swap/augmentation_blur]
    overlay: {augmentation: {...}} # written here, laid on after `apply`
to: swap/catalyst_2020           # laid on `from`: what all components together must be
seeds: 6
notes: text
base: other.yml                    # another ladder file that this one is laid on; `name: null` drops a component
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, field_validator

from catalyst_cityscapes.lab.ladder.ladder import Ladder, Step
from catalyst_cityscapes.lab.ladder.normal_form import canonical, differing_keys, present_steps
from catalyst_cityscapes.lab.plan.arms import sources_of
from catalyst_cityscapes.recipe.loading import (
    Layers,
    Source,
    find_config,
    overlay,
    read_with_base,
    resolve_recipe,
)
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError, did_you_mean, printable

SHOWN_KEYS = 4


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    apply: list[str] = []
    overlay: dict[str, Any] = {}
    note: str = ""

    @field_validator("apply", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: list[str]
    settings: list[str] = []
    components: dict[str, _Entry]
    goal: list[str] | None = None
    seeds: PositiveInt | None = None
    notes: str = ""

    @field_validator("start", "settings", "goal", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("components", mode="before")
    @classmethod
    def _entries(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"apply": entry} if isinstance(entry, (str, list)) else entry
            for name, entry in value.items()
            if entry is not None
        }


KEYS = {
    "from": "start",
    "set": "settings",
    "components": "components",
    "to": "goal",
    "seeds": "seeds",
    "notes": "notes",
}
"""Keys of a ladder file, and the fields that hold them."""


@dataclass(frozen=True)
class _Composition:
    """The recipe of `from` with some components, always laid on in the listed order."""

    shared: tuple[Source, ...]
    components: dict[str, tuple[Source, ...]]
    trusted: tuple[str, ...]

    def __call__(self, names: Sequence[str]) -> Recipe:
        layers = [source for name, sources in self.components.items() if name in names for source in sources]
        return _resolved([*self.shared, *layers], self.trusted)


def _is_order(augmentation: dict[str, Any]) -> bool:
    # Anything else stays as it is, for the recipe's own check to refuse.
    order = augmentation.get("order")
    return isinstance(order, list) and all(isinstance(name, str) for name in order)


def _resolved(sources: Sequence[Source], trusted: Sequence[str]) -> Recipe:
    layers = Layers(list(sources))
    augmentation = layers.merged().get("augmentation")
    if isinstance(augmentation, dict) and isinstance(augmentation.get("steps"), dict) and _is_order(augmentation):
        order = {"augmentation": {"order": present_steps(augmentation)}}
        layers = Layers([*sources, Source("augmentation.order", order)])
    return resolve_recipe(layers, trusted)


def read_ladder(name: str, settings: Sequence[str] = (), trusted: Sequence[str] = ()) -> Ladder:
    """A ladder file.

    `augmentation.order` may name steps that an arm does not have: they are left out.

    Args:
        name: the file, or the name of a shipped one.
        settings: `key.path=value` for all arms, after the file's own `set` and under the components.
        trusted: packages allowed beside the standing list.

    Raises:
        InputError: a file, key or value that is none, or components that together are not `to`.
    """
    file = _validated(name, _merged(name))
    if not file.components:
        raise InputError(f"{name}: components: expected at least one")
    shared = [*sources_of(file.start, f"{name}: from"), *sources_of(file.settings, f"{name}: set")]
    shared += sources_of(settings, "--set")
    components: dict[str, tuple[Source, ...]] = {}
    for key, entry in file.components.items():
        place = f"{name}: components.{key}"
        sources = sources_of(entry.apply, place)
        if entry.overlay:
            sources.append(Source(f"{place}.overlay", entry.overlay))
        if not sources:
            raise InputError(f"{place}: changes nothing; expected an overlay, a setting or `overlay:`")
        components[key] = tuple(sources)
    compose = _Composition(tuple(shared), components, tuple(trusted))
    if file.goal is not None:
        goal = _resolved([*shared, *sources_of(file.goal, f"{name}: to")], trusted)
        _check_goal(name, compose(tuple(components)), goal, trusted)
    steps = tuple(
        Step(
            key,
            tuple(map(printable, (*entry.apply, *(["overlay"] if entry.overlay else [])))),
            printable(" ".join(entry.note.split())),
        )
        for key, entry in file.components.items()
    )
    source = (*file.start, *file.settings, *settings)
    return Ladder(steps, compose, source, printable(" ".join(file.notes.split())), file.seeds, tuple(trusted))


def recipe_of_parts(parts: Sequence[str], settings: Sequence[str], trusted: Sequence[str], place: str) -> Recipe:
    """The checked recipe of files and settings, in order; `settings` come last.

    Args:
        parts: files, names of shipped ones, or `key.path=value`.
        settings: `key.path=value`.
        trusted: packages allowed beside the standing list.
        place: where the parts were given, for messages.

    Raises:
        InputError: a file, key or value that does not exist or fit.
    """
    return _resolved([*sources_of(parts, place), *sources_of(settings, "--set")], trusted)


def _merged(name: str) -> dict[str, Any]:
    path: Path = find_config(name)
    content: dict[str, Any] = {}
    for source in read_with_base(path, name):
        content = overlay(content, source.content)
    return content


def _validated(name: str, content: dict[str, Any]) -> _File:
    for key in content:
        if key not in KEYS:
            raise InputError(f"{name}: {key}: no key of a ladder file{did_you_mean(str(key), KEYS)}")
    for key in ("from", "components"):
        if key not in content:
            raise InputError(f"{name}: {key}: missing; a ladder file needs from and components")
    try:
        return _File.model_validate({KEYS[key]: value for key, value in content.items()})
    except ValidationError as error:
        detail = error.errors()[0]
        first, *rest = map(str, detail["loc"])
        shown = next(key for key, field in KEYS.items() if field == first)
        raise InputError(f"{name}: {'.'.join((shown, *rest))}: {detail['msg']}") from error


def _check_goal(name: str, composed: Recipe, goal: Recipe, trusted: Sequence[str]) -> None:
    missing = differing_keys(canonical(composed, trusted), canonical(goal, trusted))
    if missing:
        more = f" and {len(missing) - SHOWN_KEYS} more" if len(missing) > SHOWN_KEYS else ""
        raise InputError(
            f"{name}: all components together are not `to`: {', '.join(missing[:SHOWN_KEYS])}{more} differ; "
            "add a component for them, or leave `to` out"
        )
