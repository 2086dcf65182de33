"""Named protocols in recipes: what a name fills in, what it replaces, and what is only known from the images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from catalyst_cityscapes.recipe.named_protocols import ALWAYS_FREE, NAMED, named
from catalyst_cityscapes.recipe.normalisation import tested_with
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.protocol import WHOLE_IMAGE, Protocol, preset_values

__all__ = ["complete_protocol", "named", "protocol_of", "protocol_value", "without_renamed_protocol"]

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Protocol)}


def without_renamed_protocol(below: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """The layers `below`, without the parts of their protocol that a layer replaces by naming another one.

    The normalisation stays, since it is the network's, and so does what a recipe may set under both names; the crop and
    the base size of the data set stay, except to and from protocols that take them from the images
    (`NamedProtocol.fitted`), as `whole`: there both stay under the same name, a box stays a box, and a crop stays where
    its stride does.
    """
    old, new = below.get("protocol"), content.get("protocol")
    if not isinstance(old, dict) or not isinstance(new, dict) or str(new.get("name")) not in NAMED:
        return below
    is_same = old.get("name") == new["name"]
    after = NAMED[new["name"]]
    before = after if is_same else NAMED.get(str(old.get("name")))
    kept = {"mean", "std"}
    if is_same or not (after.fitted or (before is not None and before.fitted)):
        kept |= {"crop", "base_size"}
    if before is not None:
        kept |= (before.free & after.free) | ({"base_size"} if before.box and after.box else set())
        # Windows are a crop and a stride together.
        if "stride" in kept and old.get("crop") not in (None, WHOLE_IMAGE):
            kept |= {"crop"}
        elif not is_same:
            kept -= {"stride", "stride_rate"}
    return {**below, "protocol": {key: value for key, value in old.items() if key in kept}}


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
    if not isinstance(name, str) or name not in NAMED:
        return
    always_written = preset_values("semseg-ss").keys()
    for key, value in NAMED[name].meaning().items():
        is_free = key in NAMED[name].free | ALWAYS_FREE
        if section.get(key) is None:
            if key in always_written or value != DEFAULTS[key]:
                section[key] = value
        elif not is_free and not _equal(section[key], value):
            if origin(("protocol", "name")) == origin(("protocol", key)):
                raise error_at(
                    ("protocol", key),
                    f"{section[key]} contradicts the name '{name}', which means {value}; leave one of them out",
                )
            section["name"] = None
    data = content.get("data")
    # A window of the image's own size is either said by now, or follows from the images.
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
