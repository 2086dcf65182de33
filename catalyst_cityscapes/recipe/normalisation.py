"""How a recipe's training normalises its images, as far as the recipe says it, and the test after it.

One source: `protocol.mean` and `protocol.std` are null, and the test takes what the augmentation states. What no node
states is measured before the training (`catalyst_cityscapes.train.input_check`).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catalyst_cityscapes.recipe.nodes.allow_list import is_allowed, within
from catalyst_cityscapes.recipe.nodes.kinds import ALBUMENTATIONS, TORCHVISION
from catalyst_cityscapes.recipe.nodes.targets import OWN_PACKAGES, locate, walk_nodes
from catalyst_cityscapes.recipe.schema import Node, Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.base.image_statistics import MEAN, STD

MEAN_TOLERANCE, STD_TOLERANCE = 0.5, 0.01
"""Grey levels, and a share: two normalisations that are nearer than this are one, to the eye of a network."""
GREY_LEVELS = 255.0
BORDER_CONSTANT = 0
"""OpenCV's, which albumentations' `border_mode` takes."""
Values = tuple[float, ...]
Normalisation = tuple[Values, Values | None]


@dataclass(frozen=True)
class Stated:
    """A node that normalises: its key path, and mean and std in grey levels (std None only subtracts)."""

    path: tuple
    mean: Values
    std: Values | None

    @property
    def place(self) -> str:
        """The key path as text."""
        return ".".join(map(str, self.path))


def stated_normalisations(augmentation: Node) -> list[Stated]:
    """The nodes of an augmentation that normalise, in their order; steps that `order` leaves out do not count.

    They are this project's components with `mean` and `std` in grey levels, and `Normalize` of albumentations and of
    torchvision's `transforms.v2`, wherever they are nested. torchvision's has the units of what it gets: shares of 255
    after the conversion of 8-bit images with `ToDtype(scale=True)`, grey levels otherwise.
    """
    found, unit = [], None
    for path, node, target in _running(augmentation):
        if unit is None:
            unit = _unit_made_by(node, target)
        parameters = _parameters(target)
        values = {name: node.get(name, parameters[name].default) for name in parameters}
        mean, std = values.get("mean"), values.get("std")
        scale = 1.0
        if target.__module__.startswith("albumentations.") and target.__name__ == "Normalize":
            if values.get("normalization", "standard") != "standard":
                continue
            scale = values["max_pixel_value"]
            if not isinstance(scale, (int, float)):
                continue
        elif _is_of_torchvision(target, "Normalize"):
            scale = unit or 1.0
        elif not (target.__module__.startswith(OWN_PACKAGES) and "std" in values):
            continue
        if _is_three(mean) and (std is None or _is_three(std)):
            scaled = (None if each is None else tuple(float(v) * scale for v in each) for each in (mean, std))
            found.append(Stated(path, *scaled))
    return found


def _running(augmentation: Node) -> list[tuple[tuple, Node, Callable]]:
    order, steps = augmentation.get("order"), augmentation.get("steps")
    outer: list[tuple[tuple, Any]] = [(("augmentation",), augmentation)]
    if isinstance(order, list) and isinstance(steps, dict):
        names = [name for name in order if isinstance(name, str) and steps.get(name) is not None]
        outer = [(("augmentation", "steps", name), steps[name]) for name in names]
    nodes = [pair for path, value in outer for pair in walk_nodes(value, path)]
    return [(path, node, locate(node["_target_"])[1]) for path, node in nodes]


def _is_of_torchvision(target: Callable, *names: str) -> bool:
    return within(target.__module__, (TORCHVISION,)) and target.__name__ in names


def _unit_made_by(node: Node, target: Callable) -> float | None:
    """Grey levels in one unit of the float image that a step makes of an 8-bit one; None for steps that make none."""
    if target.__module__ == "semseg_ref.transform" and target.__name__ == "ToTensor":
        return 1.0
    if _is_of_torchvision(target, "ToTensor", "ConvertImageDtype"):
        return GREY_LEVELS
    if _is_of_torchvision(target, "ToDtype") and "float" in str(node.get("dtype")):
        return GREY_LEVELS if node.get("scale") else 1.0
    return None


def _parameters(target: Callable) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except ValueError:  # built-in callables without a signature
        return {}


def _is_three(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values)


def is_own(augmentation: Node) -> bool:
    """Whether all that runs is this project's."""
    return all(target.__module__.startswith(OWN_PACKAGES) for _, _, target in _running(augmentation))


def same(left: Normalisation, right: Normalisation) -> bool:
    """Whether two normalisations are one, up to `MEAN_TOLERANCE` and `STD_TOLERANCE`."""
    means = all(abs(a - b) <= MEAN_TOLERANCE for a, b in zip(left[0], right[0], strict=True))
    stds = [each or (1.0,) * 3 for each in (left[1], right[1])]
    return means and all(abs(a - b) <= STD_TOLERANCE * abs(b) for a, b in zip(*stds, strict=True))


def tested_with(recipe: Recipe) -> Normalisation:
    """Mean and std of the test, in grey levels: those of `protocol`, or else the training's, or else the reference's.

    The reference's own numbers stand for whatever is the same as they are, so that its protocols keep their hash.
    """
    official = (tuple(MEAN), tuple(STD))
    if recipe.protocol.mean is not None:
        return recipe.protocol.mean, recipe.protocol.std
    stated = stated_normalisations(recipe.augmentation)
    if len(stated) != 1 or same((stated[0].mean, stated[0].std), official):
        return official
    return stated[0].mean, stated[0].std


def check_stated(recipe: Recipe, error_at: Callable[..., InputError]) -> None:
    """Refuses a protocol's `mean` and `std` that are not those of the training.

    Raises:
        InputError: `error_at` of the protocol's key, with both values.
    """
    section, stated = recipe.protocol, stated_normalisations(recipe.augmentation)
    # Where others' steps change values too, what is stated is not all; there it is measured.
    if section.mean is None or len(stated) != 1 or not is_own(recipe.augmentation):
        return
    trained = (stated[0].mean, stated[0].std)
    if not same(trained, (section.mean, section.std)):
        raise error_at(
            ("protocol", "mean"),
            f"the test would normalise by {shown((section.mean, section.std))}, and {stated[0].place} trains with "
            f"{shown(trained)}; leave protocol.mean and protocol.std out: the test then does as the training does",
        )


def check_trained_normalisation(recipe: Recipe, trained: Any, path: str | Path) -> None:
    """Refuses to test weights with another normalisation than they were trained with.

    A recipe whose protocol states mean and std is believed; so is a checkpoint without a readable recipe.

    Args:
        recipe: of the test.
        trained: the recipe that the checkpoint holds, as plain values, or None.
        path: of the checkpoint, for the message.

    Raises:
        InputError: naming both, and the setting that tests as trained.
    """
    if recipe.protocol.mean is not None or not isinstance(trained, dict):
        return
    try:
        saved = Recipe.model_validate(trained)
    except ValidationError:  # of another version, or a plain Catalyst config
        return
    if not all(is_allowed(str(node["_target_"])) for _, node in walk_nodes(saved.augmentation)):
        return  # a checkpoint names nothing that would be imported for its sake
    before, now = tested_with(saved), tested_with(recipe)
    if not same(before, now):
        # A protocol may not differ from what the recipe's own node states, so that is what there is to set.
        stated = stated_normalisations(recipe.augmentation)
        place = stated[0].place if len(stated) == 1 and is_own(recipe.augmentation) else "protocol"
        raise InputError(
            f"{path}: was trained with images normalised by {shown(before)}, and this recipe's test would take "
            f"{shown(now)}; test as trained with --set {settings(before, place)}"
        )


def odd_paddings(recipe: Recipe) -> list[str]:
    """A line for each step that pads with another colour than the mean, with which the test pads."""
    stated = stated_normalisations(recipe.augmentation)
    if len(stated) != 1:
        return []
    lines = []
    for path, node, target in _running(recipe.augmentation):
        if path == stated[0].path:
            break  # what is padded later is padded with normalised values
        key, padding = _padding(node, target)
        if _is_three(padding) and not same((tuple(padding), None), (stated[0].mean, None)):
            lines.append(
                f"{'.'.join(map(str, path))}.{key}: {list(padding)} is not the mean that {stated[0].place} subtracts "
                f"({_numbers(stated[0].mean)}): normalised padding is not 0 as in the test, which pads with the mean"
            )
    return lines


def _padding(node: Node, target: Callable) -> tuple[str, Any]:
    """Argument and colour, one value a channel in grey levels, with which a step fills; None where it fills nothing."""
    values = {name: node.get(name, parameter.default) for name, parameter in _parameters(target).items()}
    if target.__module__.startswith(OWN_PACKAGES):
        return "padding", values.get("padding")
    pads = values.get("pad_if_needed", True) or values.get("padding")
    constant = values.get("padding_mode", "constant") == "constant"
    if within(target.__module__, (ALBUMENTATIONS,)):
        constant = values.get("border_mode") == BORDER_CONSTANT
    elif not within(target.__module__, (f"{TORCHVISION}._geometry",)):
        constant = False
    fill = values.get("fill") if pads and constant else None
    return "fill", [fill] * 3 if isinstance(fill, (int, float)) else fill


def shown(values: Normalisation) -> str:
    """`mean [..], std [..]`, ready for `--set`."""
    return f"mean {_numbers(values[0])}, std {'null' if values[1] is None else _numbers(values[1])}"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in values) + "]"


def settings(values: Normalisation, place: str = "protocol") -> str:
    """The `--set` values that make the test normalise so; `place` is the key path that states it."""
    std = "null" if values[1] is None else _numbers(values[1])
    return f"{place}.mean={_numbers(values[0])} {place}.std={std}"
