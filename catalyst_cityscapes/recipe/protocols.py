"""Named protocols in recipes: what a name fills in, what it replaces, and what is only known from the images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from catalyst_cityscapes.recipe.normalisation import tested_with
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.protocol import PROTOCOLS, Protocol, preset_values


def without_renamed_protocol(below: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """The layers `below`, without the parts of their protocol that a layer replaces by naming another one.

    The normalisation stays, since it is the network's; the crop and the base size of the data set stay, except to and
    from `whole`, whose window is the image.
    """
    old, new = below.get("protocol"), content.get("protocol")
    if not isinstance(old, dict) or not isinstance(new, dict) or str(new.get("name")) not in PROTOCOLS:
        return below
    kept = ("mean", "std", *(() if "whole" in (old.get("name"), new["name"]) else ("crop", "base_size")))
    return {**below, "protocol": {key: old[key] for key in kept if key in old}}


def complete_protocol(
    content: dict[str, Any],
    origin: Callable[[Sequence[Any]], str],
    error_at: Callable[[Sequence[Any], str], InputError],
) -> None:
    """Fills `content["protocol"]`, in place, with what its name means and the training crop.

    A later layer's value that differs from the meaning takes the name away, so that no score carries a wrong one.

    Args:
        content: a merged recipe, not validated yet.
        origin: name of the layer that sets a key path.
        error_at: makes the error of a key path.

    Raises:
        InputError: the layer that gives the name also gives a value that contradicts it.
    """
    section = content.get("protocol")
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str) or name not in PROTOCOLS:
        return
    for key, value in preset_values(name).items():
        if key not in section:
            section[key] = value
        elif not _equal(section[key], value):
            if origin(("protocol", "name")) == origin(("protocol", key)):
                raise error_at(
                    ("protocol", key),
                    f"{section[key]} contradicts the name '{name}', which means {value}; leave one of them out",
                )
            section["name"] = None
    data = content.get("data")
    if section.get("crop") is None and name != "whole" and isinstance(data, dict):
        section["crop"] = data.get("crop")


def _equal(given: Any, meant: Any) -> bool:
    if isinstance(given, (list, tuple)) and isinstance(meant, (list, tuple)):
        return list(given) == list(meant)
    return given == meant


def protocol_of(recipe: Recipe, pairs: Sequence[tuple[str, str]]) -> Protocol:
    """A recipe's protocol; where that is open, with the size of the first image.

    Args:
        recipe: a checked recipe.
        pairs: (image path, label path) of the images to score.

    Raises:
        OptionError, DataError: see `ProtocolSection.value` and `read_image`.
    """
    from semseg_ref.dataset import read_image

    size = read_image(pairs[0][0]).shape[:2] if recipe.protocol.is_open else None
    return protocol_value(recipe, size)


def protocol_value(recipe: Recipe, image_size: tuple[int, int] | None = None) -> Protocol:
    """What a recipe is tested with: its protocol, with the training's normalisation where it states none.

    Raises:
        OptionError: see `ProtocolSection.value`.
    """
    mean, std = tested_with(recipe)
    return dataclasses.replace(recipe.protocol.value(image_size), mean=mean, std=std)
