"""What a recipe says in several places and must say alike: the ignored value, the number of classes, sizes."""

import inspect
from collections.abc import Callable
from typing import Any

from catalyst_cityscapes.recipe.nodes.targets import locate, walk_nodes
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import DataError, InputError, OptionError
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.metric import check_ignored_value
from semseg_ref.model.pspnet import check_side

IGNORED = ("ignore_index", "ignore_label", "fill_mask")
CLASSES = ("classes", "num_classes", "num_labels")
_CONSTANT_BORDER = 0  # cv2.BORDER_CONSTANT


def check_consistency(recipe: Recipe) -> None:
    """Compares what the components were told, or take by default, with `data.ignore_index` and `data.classes`.

    Raises:
        OptionError: naming the key path that differs; see `check_ignored_value`.
        DataError: class names or colours of another number.
    """
    data = recipe.data
    check_ignored_value(data.ignore_index, data.classes, "data.ignore_index")
    for section in ("augmentation", "criterion", "callbacks"):
        for path, node in walk_nodes(getattr(recipe, section), (section,)):
            for name in IGNORED:
                _compare(path, node, name, "ignore_index", data.ignore_index)
    for section in ("model", "callbacks"):
        for path, node in walk_nodes(getattr(recipe, section), (section,)):
            for name in CLASSES:
                _compare(path, node, name, "classes", data.classes)
    for key, load in (("names", load_names), ("colors", load_colors)):
        try:
            load(getattr(data, key), data.classes)
        except DataError as error:
            raise DataError(f"data.{key}: {error}; data.classes is {data.classes}") from error


def check_sizes(recipe: Recipe, error_at: Callable[..., InputError]) -> None:
    """Refuses windows of a test that the class of the network says it cannot take (`size_step`, multiples plus 1).

    Training crops, and networks that only know when they are built, are asked then (`models.outputs.check_sides`).

    Raises:
        InputError: `error_at` of the key path.
    """
    step = getattr(locate(recipe.model["_target_"])[1], "size_step", None)
    if not isinstance(step, int):
        return
    for side in recipe.protocol.crop if isinstance(recipe.protocol.crop, tuple) else ():
        try:
            check_side(f"{side}", side, step)
        except OptionError as error:
            raise error_at(("protocol", "crop"), str(error), of_value=True) from error


def _compare(path: tuple, node: dict[str, Any], name: str, key: str, wanted: int) -> None:
    defaults = _defaults(node["_target_"])
    if name not in defaults and name not in node:
        return
    values = {**defaults, **node}
    if name == "fill_mask" and not _pads(values):
        return
    value = values[name]
    # A mapping or list is a node of its own, or a value for each of several things.
    if value == wanted or value is inspect.Parameter.empty or isinstance(value, (dict, list)):
        return
    how = "" if name in node else " (its default)"
    raise OptionError(
        f"{'.'.join(map(str, (*path, name)))}: {value}{how} differs from data.{key}, {wanted}; write "
        f"${{data.{key}}}, so that there is one value"
    )


def _defaults(target: str) -> dict[str, Any]:
    try:
        parameters = inspect.signature(locate(target)[1]).parameters
    except (TypeError, ValueError):  # built-in callables have none
        return {}
    return {name: parameter.default for name, parameter in parameters.items()}


def _pads(values: dict[str, Any]) -> bool:
    # albumentations: fill_mask counts where the border is constant, and for crops only where they may pad.
    constant = values.get("border_mode", _CONSTANT_BORDER) == _CONSTANT_BORDER
    return values["fill_mask"] is not None and constant and values.get("pad_if_needed", True)
