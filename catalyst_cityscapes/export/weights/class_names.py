"""Names and colours of the classes that a weight file's outputs stand for, and a recipe's beside them."""

import json
from collections.abc import Mapping
from typing import Any

from catalyst_cityscapes.models.known import ClassTable
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.checkpoints.state_dict import first_names
from semseg_ref.base.errors import CheckpointError, DataError
from semseg_ref.catalog import load_colors, load_names


def classes_of(others: Mapping[str, Any]) -> ClassTable:
    """The classes that a file of this project says it was trained on.

    Args:
        others: what the file holds beside the weights: the recipe of a checkpoint, or the metadata of a safetensors
            file.
    """
    recipe, metadata = others.get("recipe"), others.get("classes")
    if isinstance(metadata, str):
        return from_json(metadata)
    data = recipe.get("data") if isinstance(recipe, Mapping) else None
    if not isinstance(data, Mapping):
        return ClassTable()
    try:
        return _load(str(data.get("names")), str(data.get("colors")), data.get("classes"))
    except DataError:  # of a data set that is not here
        return ClassTable()


def recipe_classes(recipe: Recipe) -> ClassTable:
    """The classes of a recipe's data set.

    Raises:
        DataError: its tables cannot be read, or are of another number of classes.
    """
    return _load(recipe.data.names, recipe.data.colors, recipe.data.classes)


def _load(names: str, colors: str, classes: int | None) -> ClassTable:
    palette = tuple((row[0], row[1], row[2]) for row in load_colors(colors, classes).tolist())
    return ClassTable(tuple(load_names(names, classes)), palette)


def to_json(classes: ClassTable) -> str:
    """For the metadata of a safetensors file, whose values are texts."""
    return json.dumps({"names": classes.names, "palette": classes.palette})


def from_json(text: str) -> ClassTable:
    """As `to_json` wrote it; empty for anything else."""
    try:
        found = json.loads(text)
        names, palette = found["names"], found["palette"]
        return ClassTable(
            None if names is None else tuple(str(name) for name in names),
            None if palette is None else tuple((int(r), int(g), int(b)) for r, g, b in palette),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return ClassTable()


def describe(classes: ClassTable) -> str:
    """The classes in one line."""
    colours = "" if classes.palette is None else "; with their colours"
    return f"{len(classes.names or ())}: {first_names(list(classes.names or ()))}{colours}"


def differing_classes(found: ClassTable, expected: ClassTable) -> list[str]:
    """What of a file's names and colours differs from the recipe's, in words.

    Raises:
        CheckpointError: the outputs stand for other classes: another number of names, or the same in another order.
    """
    if found.names is None or expected.names is None:
        return []
    has, wants = ([_plain(name) for name in names] for names in (found.names, expected.names))
    if len(has) != len(wants):
        raise CheckpointError(
            f"the file names {len(has)} classes ({first_names(list(found.names))}), the recipe's data set has "
            f"{len(wants)} ({first_names(list(expected.names))})"
        )
    others = [k for k in range(len(has)) if has[k] != wants[k]]
    words = [f"{k}: {found.names[k]!r} instead of {expected.names[k]!r}" for k in others]
    if others and sorted(has) == sorted(wants):
        raise CheckpointError(f"the file has the recipe's classes in another order: {first_names(words)}")
    notes = [f"classes by another name than in the recipe: {first_names(words)}"] if words else []
    if found.palette is not None and expected.palette is not None and found.palette != expected.palette:
        pairs = zip(found.names, found.palette, expected.palette, strict=True)
        words = [f"{name} {list(own)} instead of {list(other)}" for name, own, other in pairs if own != other]
        notes.append(f"other colours than the recipe's: {first_names(words)}")
    return notes


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ").strip()
