"""Whether an augmentation follows the recipe's seeds: repeatable, new in each epoch, different in each worker."""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.data.training_set import build_augmentation, data_streams
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.sampling import EpochSampler, SeededDataset

TRIALS, REPEATS = 16, 4


@dataclass(frozen=True)
class Randomness:
    """What the random numbers of a training depend on.

    Attributes:
        seeded: the recipe's seed reaches the draws at all.
        varies: images get different draws.
        repeatable: the same seed, epoch and image give the same pixels, whatever was drawn before.
        replayed: every image gets the same draws in the next epoch.
        shared_by_workers: two loader workers give their images the same draws.
        reshuffled: the order of the images changes from epoch to epoch.
    """

    seeded: bool
    varies: bool
    repeatable: bool
    replayed: bool
    shared_by_workers: bool
    reshuffled: bool


class _KnownImages:
    """A data set of one image, black on the left and the top and white at the other corner."""

    def __init__(self, augmentation: Callable[..., Any], size: tuple[int, int]) -> None:
        h, w = size
        ramp = np.linspace(0, 255, h)[:, None] / 2 + np.linspace(0, 255, w)[None, :] / 2
        self.image = np.repeat(ramp[..., None], 3, axis=2).astype(np.float32)
        self.label = np.zeros((h, w), np.uint8)
        self.augmentation = augmentation

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.augmentation(self.image.copy(), self.label.copy())[0])

    def __len__(self) -> int:
        return TRIALS


def measure_randomness(recipe: Recipe, size: tuple[int, int]) -> Randomness:
    """Sends one known image through the recipe's own seeded data set, in the places of several.

    Args:
        recipe: a checked recipe.
        size: (height, width) of the image.

    Raises:
        InputError: the augmentation refuses its arguments.
    """
    streams = data_streams(recipe)
    # Without the named streams the loaders leave python's generator to torch; what a seed would reach is still asked.
    asked = streams or SeedStreams(0)
    replay = recipe.sampling.replay_augmentation

    def fresh() -> SeededDataset:
        augmentation = build_augmentation(recipe)
        return SeededDataset(_KnownImages(augmentation, size), asked, replay)

    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            dataset = fresh()
            first = dataset[0, 0]
            # Each question ends at the first answer that differs: few draws for most, many where a coin decides.
            varies = any(not _same(first, dataset[0, index]) for index in range(1, TRIALS))
            repeatable = all(_same(dataset[0, index], dataset[0, index]) for index in range(REPEATS))
            replayed = varies and all(_same(dataset[0, index], dataset[1, index]) for index in range(TRIALS))
            one, other = copy.deepcopy(dataset), copy.deepcopy(dataset)
            shared = varies and all(
                _same(_in_worker(one, 2 * turn), _in_worker(other, 2 * turn + 1)) for turn in range(TRIALS // 2)
            )
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return Randomness(
        seeded=streams is not None,
        varies=varies,
        repeatable=repeatable,
        replayed=replayed,
        shared_by_workers=shared,
        reshuffled=_reshuffled(recipe),
    )


def _in_worker(dataset: SeededDataset, index: int) -> np.ndarray:
    # As torch's loader seeds its workers, each otherwise; a library's own generator came with the copy.
    np.random.seed(index)
    torch.default_generator.manual_seed(index)
    return dataset[1, index]


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and bool((left == right).all())


def _reshuffled(recipe: Recipe, images: int = 64) -> bool:
    order = EpochSampler(images, data_streams(recipe) or SeedStreams(0), shuffle=recipe.sampling.shuffle)
    epochs = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        epochs.append([index for _, index in order])
    return epochs[0] != epochs[1]
