"""The arms of a lab: made from a base recipe and overlays, and checked for being comparable before anything runs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalyst_cityscapes.lab.plan.plan import NAME, Arm, Plan, differences, shown
from catalyst_cityscapes.recipe.loading import (
    ANY_SIZE,
    Layers,
    Source,
    find_config,
    parse_settings,
    read_with_base,
    read_yaml,
    resolve_recipe,
)
from catalyst_cityscapes.recipe.protocols import protocol_value
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import is_official
from semseg_ref.base.errors import InputError

BASE = "base"
SETTING = re.compile(r"[\w.-]+=")
OPENING, CLOSING = "[{(", "]})"
SAME_IN_ALL = ("classes", "ignore_index", "val_list", "root", "names")
"""Keys of `data` that make scores comparable."""


def split_layers(text: str) -> list[str]:
    """The parts of `a.yml,b.yml,data.crop=[65, 97]`: split at commas, but not within brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_arm(text: str) -> tuple[str, list[str]]:
    """`NAME=overlay.yml[,overlay2.yml,key.path=value ...]` as a name and its parts; without parts it is the base again.

    Raises:
        InputError: another form, or a name that is no safe folder name.
    """
    name, equals, rest = text.partition("=")
    if not equals:
        word = Path(name).stem
        raise InputError(f"--arm {text}: expected NAME=OVERLAY[,OVERLAY or key.path=value ...], e.g. {word}={text}")
    if not NAME.fullmatch(name):
        raise InputError(
            f"--arm {text}: '{name}' cannot name a folder; expected a letter or digit, then letters, digits, '_', '-' "
            "and '.', 60 at most"
        )
    return name, split_layers(rest)


def _overlay(name: str, place: str) -> list[Source]:
    try:
        return read_with_base(find_config(name), name)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def sources_of(parts: Sequence[str], place: str) -> list[Source]:
    """The layers of files, shipped names and `key.path=value`, in order; errors name `place`."""
    sources: list[Source] = []
    for part in parts:
        if SETTING.match(part) and not Path(part).is_file():
            try:
                sources.append(Source(place, parse_settings([part])))
            except InputError as error:
                raise InputError(f"{place}: {error}") from error
        else:
            sources += _overlay(part, place)
    return sources


def build_arms(
    base: str,
    arms: Sequence[str],
    overlays: Sequence[str] = (),
    settings: Sequence[str] = (),
    trusted: Sequence[str] = (),
) -> tuple[Arm, ...]:
    """The base and the other arms, each the base recipe, then what all share, then its own overlays in order.

    Args:
        base: recipe file, or the name of a shipped one.
        arms: see `parse_arm`.
        overlays, settings: for every arm, the base included.
        trusted: see `resolve_recipe`.

    Raises:
        InputError: a file, key or value that does not exist or fit, two arms of one name, no arm.
    """
    first = read_yaml(find_config(base))
    if is_official(first) or ("runner" in first and "run" in first):
        raise InputError(
            f"{base}: no recipe; catalyst-dl run --config {base} --show prints an official config as one: save that"
        )
    if not arms:
        raise InputError("no arm: give --arm NAME=OVERLAY, e.g. --arm head_lr=swap/head_lr")
    shared = read_with_base(find_config(base), base)
    for overlay in overlays:
        shared += _overlay(overlay, "--overlay")
    if settings:
        shared.append(Source("--set", parse_settings(settings)))
    made = [Arm(BASE, resolve_recipe(Layers(shared), trusted), (base, *overlays, *settings))]
    for text in arms:
        name, parts = parse_arm(text)
        taken = [arm.name for arm in made if arm.name.casefold() == name.casefold()]
        if taken:
            raise InputError(f"--arm {text}: there is an arm '{taken[0]}' already; names differ in more than case")
        layers = Layers([*shared, *sources_of(parts, f"--arm {name}")])
        made.append(Arm(name, resolve_recipe(layers, trusted), (*made[0].source, *parts)))
    return tuple(made)


def check_arms(arms: Sequence[Arm]) -> None:
    """Whether runs of these arms can be paired, and their scores compared.

    Raises:
        InputError: a recipe without seeds, an own seed of an arm, another test protocol or other test images or
            classes than the base's.
    """
    base = arms[0].recipe
    for arm in arms:
        where = f"arm {arm.name}"
        if arm.recipe.experiment.seed is None:
            raise InputError(
                f"{where}: experiment.seed: null is a run without seeds, so no pairs; --set experiment.seed=0"
            )
        if arm.recipe.sampling.seed_stream != "named":
            raise InputError(
                f"{where}: sampling.seed_stream: {arm.recipe.sampling.seed_stream} leaves the order and the draws to "
                "chance, so no pairs; --set sampling.seed_stream=named"
            )
        if arm.recipe.experiment.seed != base.experiment.seed:
            raise InputError(
                f"{where}: experiment.seed: {arm.recipe.experiment.seed}; every arm runs with the same seeds, "
                "--first-seed and --seeds set them"
            )
        _check_same_test(arm, base)


def _check_same_test(arm: Arm, base: Recipe) -> None:
    for key in SAME_IN_ALL:
        here, there = getattr(arm.recipe.data, key), getattr(base.data, key)
        if here != there:
            raise InputError(f"arm {arm.name}: data.{key}: {here}, but {there} in the base: scores would not compare")
    ours, theirs = _protocol(arm.recipe), _protocol(base)
    for key in theirs:
        if ours[key] != theirs[key]:
            mend = f"pin it for all, e.g. add protocol.{key}={shown(theirs[key])} to the arm"
            if key in ("mean", "std"):
                mend = "the test normalises as the training does, so give all arms one normalisation"
            raise InputError(
                f"arm {arm.name}: protocol.{key}: {shown(ours[key])}, but {shown(theirs[key])} in the base: all arms "
                f"are tested alike; {mend}"
            )


def _protocol(recipe: Recipe) -> dict[str, Any]:
    values = protocol_value(recipe, ANY_SIZE).to_dict()
    return {key: value for key, value in values.items() if key != "name"}


def identical_arms(plan: Plan) -> dict[str, str]:
    """Arms with the recipe of an earlier arm: name -> name of the first such arm."""
    found: dict[str, str] = {}
    for index, arm in enumerate(plan.arms):
        for earlier in plan.arms[:index]:
            if not differences(earlier.recipe, arm.recipe):
                found[arm.name] = earlier.name
                break
    return found
