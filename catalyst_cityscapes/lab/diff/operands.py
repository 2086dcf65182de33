"""`A.yml+overlay.yml+key.path=value`: one side of a comparison as a recipe."""

import re
from collections.abc import Sequence
from pathlib import Path

from catalyst_cityscapes.lab.plan.arms import SETTING
from catalyst_cityscapes.recipe.loading import (
    Layers,
    Source,
    find_config,
    parse_settings,
    read_with_base,
    read_yaml,
    resolve_recipe,
)
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import is_official, official_to_recipe
from semseg_ref.base.errors import InputError
from semseg_ref.config import load_cfg_from_cfg_file

PLUS = re.compile(r"(?<!\d[eE])\+")  # 1e+5 is one number


def split_operand(text: str, other: str | None = None) -> list[str]:
    """The layers of `A.yml+overlay.yml+key.path=value`, in order.

    Args:
        text: layers joined by `+`; a file whose own name holds a `+` is one layer.
        other: the first side, which `+overlay.yml` alone goes on top of.

    Raises:
        InputError: an empty layer.
    """
    if Path(text).exists():
        return [text]
    if text.startswith("+") and other is not None:
        return [*split_operand(other), *split_operand(text[1:])]
    parts = PLUS.split(text)
    if not all(parts):
        raise InputError(f"{text}: an empty layer; expected RECIPE+OVERLAY+KEY=VALUE ..., e.g. toy/pspnet50+swap/batch")
    return parts


def operand_recipe(parts: Sequence[str], settings: Sequence[str] = (), trusted: Sequence[str] = ()) -> Recipe:
    """The recipe of a side's layers.

    Args:
        parts: recipe files, shipped names, run folders (their `recipe.yml`) and `key.path=value`; the first may be an
            official config.
        settings: `key.path=value` on top.
        trusted: see `resolve_recipe`.

    Raises:
        InputError: a file, key or value that does not exist or fit.
    """
    sources = []
    for index, part in enumerate(parts):
        if SETTING.match(part) and not Path(part).is_file():
            sources.append(Source(part, parse_settings([part])))
            continue
        path = find_config(str(Path(part) / "recipe.yml") if Path(part).is_dir() else part)
        if index == 0 and is_official(read_yaml(path)):
            recipe = official_to_recipe(load_cfg_from_cfg_file(path), path.stem, f"exp/{path.stem}")
            sources.append(Source(part, recipe.model_dump(mode="json", by_alias=True)))
        else:
            sources += read_with_base(path, part)
    if settings:
        sources.append(Source("--set", parse_settings(settings)))
    return resolve_recipe(Layers(sources), trusted)
