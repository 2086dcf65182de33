"""An augmentation without its colour steps, for the measurements that read grey levels as places.

A colour step changes the values of pixels and moves none: it commutes with any shuffling of the pixels. Brightness,
contrast, saturation and hue do, whichever library they are of; a mirror, a blur and a resize do not. Such a step still
runs, so that all others draw the same random numbers, and its image is thrown away.
"""

import copy
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.data.augmentation.adapters import AlbumentationsCall, TorchvisionCall, adapted

SIDE = 24
TRIALS = 6
ROUNDING = 2.0
"""Grey levels by which shuffled pixels may differ: a mean over the image is summed in another order."""


class _Unchanged:
    """Runs a step for the random numbers that it draws, and gives back what came in."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self.step = step

    def __call__(self, *sample: Any) -> tuple[Any, ...]:
        self.step(*(copy.deepcopy(part) for part in sample))
        return sample


def is_colour_step(step: Callable[..., Any], only_drawn: bool = False) -> bool:
    """Whether a step `(image [H, W, 3], label [H, W]) -> (image, label)` changes values and moves no pixel.

    The generators of python, numpy and torch are left as they were.

    Args:
        step: looked at by calling it.
        only_drawn: those that change one image from draw to draw, which a normalisation does not.
    """
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            return any(_commutes(step, dtype, only_drawn) for dtype in (np.uint8, np.float32))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _commutes(step: Callable[..., Any], dtype: type, only_drawn: bool) -> bool:
    noise = np.random.default_rng(0)
    grey = noise.integers(60, 200, (SIDE, SIDE, 1)).repeat(3, axis=2).astype(dtype)
    coloured = noise.integers(60, 200, (SIDE, SIDE, 3)).astype(dtype)
    order = noise.permutation(SIDE * SIDE)
    changes, first, first_grey = False, None, None if only_drawn else grey
    for trial in range(TRIALS):
        for image in (grey, coloured):
            straight = _called(step, image, trial)
            other = _called(step, image.reshape(-1, 3)[order].reshape(image.shape), trial)
            if straight is None or other is None:
                return False
            if np.abs(straight.reshape(-1, 3)[order] - other.reshape(-1, 3)).max() > ROUNDING:
                return False
            if image is grey:
                first_grey = straight if first_grey is None else first_grey
                changes |= _differ(straight, first_grey)
            else:
                # A fixed order of the channels is the recipe's, and later steps may count on it; a drawn one is colour.
                first = straight if first is None else first
                changes |= _differ(straight, first)
    return changes


def _differ(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.abs(left - right).max() > ROUNDING)


def _called(step: Callable[..., Any], image: np.ndarray, seed: int) -> np.ndarray | None:
    """The image that comes out, float64 [H, W, 3]; None where it is no array of that size, or the label changed."""
    label = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8) % 2
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        out, target = step(image.copy(), label.copy())
    except Exception:  # a step that wants tensors may raise anything on arrays
        return None
    fits = isinstance(out, np.ndarray) and out.shape == image.shape
    return out.astype(np.float64) if fits and np.array_equal(np.asarray(target), label) else None


def without_colour_steps(augmentation: Callable[..., Any], only_drawn: bool = False) -> Callable[..., Any]:
    """The augmentation with its colour steps' images thrown away; itself where it has, or shows, none.

    Looked at are the named steps of a `Pipeline`, and what a composition of torchvision or albumentations lists as
    `transforms`, however deep. `only_drawn` is that of `is_colour_step`: a fixed change of values stays.
    """
    steps = getattr(augmentation, "steps", None)
    if isinstance(steps, dict):
        colour = {name: _Unchanged(step) for name, step in steps.items() if is_colour_step(step, only_drawn)}
        rest_of = functools.partial(without_colour_steps, only_drawn=only_drawn)
        composed = {name: rest_of(step) for name, step in steps.items() if name not in colour}
        if not colour and all(step is steps[name] for name, step in composed.items()):
            return augmentation
        rest = copy.copy(augmentation)
        rest.steps = {name: colour.get(name) or composed[name] for name in steps}
        return rest
    if not isinstance(augmentation, (AlbumentationsCall, TorchvisionCall)):
        return augmentation
    rest = copy.deepcopy(augmentation)
    return rest if _replace(rest.transform, isinstance(rest, AlbumentationsCall), only_drawn) else augmentation


def _replace(composition: Any, is_albumentations: bool, only_drawn: bool) -> bool:
    listed = getattr(composition, "transforms", None)
    if not isinstance(listed, (list, tuple)):
        return False
    found = False
    listed = list(listed)
    for index, step in enumerate(listed):
        if _replace(step, is_albumentations, only_drawn):
            found = True
        elif is_colour_step(adapted(copy.deepcopy(step)), only_drawn):
            found = True
            if is_albumentations:
                # Its compositions ask their transforms for more than a call, and those look `apply` up only here.
                step.apply = _same_image
                step._set_keys()
            else:
                listed[index] = _Unchanged(step)
    if found and not is_albumentations:
        composition.transforms = listed
    return found


def _same_image(image: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
    return image
