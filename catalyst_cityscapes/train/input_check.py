"""What the augmentation gives the network, measured on known images before the training, beside what the test gives.

A constant image shows the values, whatever library the augmentation is made of: scaling, turning, mirroring and
cropping leave it as it is, so black and white tell mean and deviation, and pure colours the order of the channels.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.data.image_set import image_set
from catalyst_cityscapes.data.training_set import build_augmentation
from catalyst_cityscapes.recipe.normalisation import (
    Normalisation,
    is_own,
    odd_paddings,
    same,
    settings,
    shown,
    stated_normalisations,
    tested_with,
)
from catalyst_cityscapes.recipe.schema import Data, Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.base.image_format import read_format
from semseg_ref.base.random_state import random_state, set_random_state
from semseg_ref.dataset import check_list, make_dataset

DRAWS, SMALL_DRAWS, PADDED_DRAWS = 8, 16, 16
MUCH_PADDING = 0.1
"""Share of padding that no augmentation has in every one of `PADDED_DRAWS` unless a step cuts to too small a size."""
COLOURS = ((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255))
RETURNS = "expected (image float tensor [3, h, w], label int64 tensor [h, w])"


@dataclass(frozen=True)
class Drawn:
    """One draw: what was done to values (None where nothing shows), to the channels' order, and the padding's share."""

    normalisation: Normalisation | None
    order: tuple[int, ...]
    size: tuple[int, int]
    padded: float


def check_training_input(recipe: Recipe) -> list[str]:
    """Looks at the augmentation of a recipe; random generators are afterwards what they were.

    Returns:
        Lines that a person should know although the run goes on.

    Raises:
        InputError: it raises, returns something else than two tensors of one size, writes label values that nobody put
            in, or gives the network other values than the test does.
    """
    notes = odd_paddings(recipe)
    stated = stated_normalisations(recipe.augmentation)
    known = is_own(recipe.augmentation) and len(stated) == 1 and not recipe.augmentation.get("extra")
    state = random_state()
    try:
        drawn = _draw(recipe, 1 if known else DRAWS, COLOURS[:1] if known else COLOURS)
        if not known:
            _draw_smallest(recipe)
        padded = _least_padding(recipe)
    finally:
        set_random_state(state)
    sizes = sorted({draw.size for draw in drawn})
    if len(sizes) > 1 and recipe.sampling.batch_size > 1:
        raise InputError(f"augmentation: gives images of several sizes ({sizes[0]}, {sizes[-1]}), which make no batch")
    if sizes[0] != recipe.data.crop:
        notes.append(
            f"augmentation: gives {sizes[0][0]} x {sizes[0][1]}, and data.crop is {list(recipe.data.crop)}: training "
            "and validation look at crops of different sizes"
        )
    if padded > MUCH_PADDING:
        notes.append(
            f"augmentation: at least {padded:.0%} of what it gives is padding in each of {PADDED_DRAWS} draws, and "
            f"data.crop is {list(recipe.data.crop)}: does a step cut to a smaller size, or are images smaller?"
        )
    return notes if known else [*notes, *_compare(drawn, tested_with(recipe))]


def _draw(recipe: Recipe, draws: int, colours: tuple) -> list[Drawn]:
    augmentation = build_augmentation(recipe)
    data = recipe.data
    try:
        return [_once(augmentation, data.crop, data.ignore_index, number, colours) for number in range(draws)]
    except InputError:
        raise
    except Exception:  # an image of the crop's size may be too small for it
        path = image_set("train", data, None, use_cache=False)
        size = path[0][0].shape[:2]
    try:
        return [_once(augmentation, size, data.ignore_index, number, colours) for number in range(draws)]
    except InputError:
        raise
    except Exception as error:  # anybody's transform says what it does not like in its own way
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"augmentation: fails on an image of {size[0]} x {size[1]}: {said}") from error


def _draw_smallest(recipe: Recipe) -> None:
    """Takes labels as small as the smallest of the training through the augmentation, which may pad them."""
    data = recipe.data
    sizes = [read_format(path).size for path in _training_images(data)]
    augmentation = build_augmentation(recipe)
    for size in {min(sizes), min(sizes, key=lambda size: size[1])}:
        for number in range(SMALL_DRAWS):
            _once_of_any(augmentation, size, data.ignore_index, number)


def _training_images(data: Data) -> list[str]:
    # Not a byte of a file that the list must not name.
    pairs = make_dataset("train", data.root, data.train_list)
    check_list(pairs, data.train_list, data.root)
    return [image for image, _ in pairs]


def _least_padding(recipe: Recipe) -> float:
    """The smallest share of ignored pixels in some draws of an image of the training's size; 0..1.

    It stops at the first draw with little of it, which is mostly the first.
    """
    data = recipe.data
    augmentation = build_augmentation(recipe)
    size = read_format(_training_images(data)[0]).size
    least = 1.0
    for number in range(PADDED_DRAWS):
        least = min(least, _once_of_any(augmentation, size, data.ignore_index, number).padded)
        if least <= MUCH_PADDING:
            break
    return least


def _once_of_any(augmentation: Any, size: tuple[int, int], ignore_index: int, number: int) -> Drawn:
    try:
        return _once(augmentation, size, ignore_index, number, COLOURS[:1])
    except InputError:
        raise
    except Exception as error:  # as in `_draw`
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"augmentation: fails on an image of {size[0]} x {size[1]}: {said}") from error


def _once(augmentation: Any, size: tuple[int, int], ignore_index: int, number: int, colours: tuple) -> Drawn:
    outputs, padded = [], 0.0
    for colour in colours:
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        image = np.broadcast_to(np.array(colour, np.float32), (*size, 3)).copy()
        if getattr(augmentation, "takes_uint8", False):
            image = image.astype(np.uint8)
        output, label = _checked(augmentation(image, np.ones(size, np.uint8)), ignore_index)
        outputs.append(output)
        padded = (label == ignore_index).double().mean().item()
    shape = tuple(outputs[0].shape[1:])
    if len(outputs) == 1:
        return Drawn(None, (0, 1, 2), shape, padded)
    black, white, *pure = (output.double().numpy() for output in outputs)
    response = white - black
    visible = np.abs(response).max(axis=0) > 1e-6
    if not visible.any():
        return Drawn(None, (0, 1, 2), shape, padded)
    slope = np.median(response[:, visible], axis=1)
    offset = np.median(black[:, visible], axis=1)
    matrix = np.array([np.median((single - black)[:, visible], axis=1) for single in pure])
    with np.errstate(divide="ignore", invalid="ignore"):
        normalisation = tuple(map(float, -offset * 255 / slope)), tuple(map(float, 255 / slope))
    return Drawn(normalisation, tuple(int(i) for i in np.abs(matrix).argmax(axis=0)), shape, padded)


def _checked(result: Any, ignore_index: int) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        kind = (
            f"{type(result).__name__} of {len(result)}" if isinstance(result, (tuple, list)) else type(result).__name__
        )
        raise InputError(f"augmentation: returns {kind}; {RETURNS}")
    image, label = result
    tensors = isinstance(image, torch.Tensor) and isinstance(label, torch.Tensor)
    if not tensors or image.ndim != 3 or image.shape[0] != 3 or tuple(label.shape) != tuple(image.shape[1:]):
        found = ", ".join(f"{type(part).__name__} {list(getattr(part, 'shape', ()))}" for part in result)
        raise InputError(f"augmentation: returns {found}; {RETURNS}; is to_tensor missing?")
    if not image.is_floating_point() or label.dtype != torch.int64:
        raise InputError(f"augmentation: returns {image.dtype} and {label.dtype}; {RETURNS}")
    strange = sorted(set(torch.unique(label).tolist()) - {1, ignore_index})
    if strange:
        raise InputError(
            f"augmentation: writes the label {strange[0]} where it was 1 everywhere: padding and turned-in "
            f"corners must become {ignore_index}, data.ignore_index (albumentations: fill_mask; torchvision: fill)"
        )
    return image, label


def _compare(drawn: list[Drawn], tested: Normalisation) -> list[str]:
    seen = [draw for draw in drawn if draw.normalisation is not None]
    if not seen:
        return [
            "augmentation: its normalisation cannot be measured (black and white images come out alike), so nobody "
            f"knows whether it is the test's, {shown(tested)}"
        ]
    swapped = [draw.order for draw in seen if draw.order != (0, 1, 2)]
    if len(swapped) > len(seen) / 2:
        names = "".join("RGB"[i] for i in swapped[0])
        raise InputError(
            f"augmentation: gives the network the channels {names}, and the test gives it RGB: images are read as RGB; "
            "drop the step that swaps or mixes channels"
        )
    found = [draw.normalisation for draw in seen]
    if any(same(each, tested) for each in found):
        return []
    if all(same(each, found[0]) for each in found):
        first = tuple(tuple(round(v, 4) + 0.0 for v in part) for part in found[0])
        raise InputError(
            f"augmentation: normalises by {shown(first)} in grey levels of 0..255, and the test by {shown(tested)}: "
            f"mend the augmentation, or test as trained with --set {settings(first)}"
        )
    middle = tuple(tuple(float(v) for v in np.median([each[part] for each in found], axis=0)) for part in (0, 1))
    return [
        f"augmentation: normalises by about {shown(middle)}, other values in each draw, and the test by "
        f"{shown(tested)}; a colour augmentation may do so, another normalisation must not"
    ]
