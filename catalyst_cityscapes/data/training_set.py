"""The training samples of a recipe: one definition for the training and for those who look at what it sees."""

import warnings
from collections.abc import Callable
from typing import Any

from catalyst_cityscapes.data.augmentation.adapters import adapted
from catalyst_cityscapes.data.endless import EndlessSampler
from catalyst_cityscapes.data.image_set import image_set
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.console import warn
from semseg_ref.base.errors import InputError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.checks.lists import check_training_lists
from semseg_ref.dataset import check_list, make_dataset
from semseg_ref.sampling import EpochSampler, SeededDataset


def data_streams(recipe: Recipe) -> SeedStreams | None:
    """Named streams of the order and the augmentation; None where the recipe leaves them to chance.

    That is an unseeded run (`experiment.seed: null`) or the reference's own way (`sampling.seed_stream: reference`).
    """
    seed = recipe.experiment.seed
    return SeedStreams(seed) if seed is not None and recipe.sampling.seed_stream == "named" else None


def check_data(recipe: Recipe) -> None:
    """Looks at the files of a recipe's lists before the training, and warns of what is likely a mistake.

    Raises:
        InputError: see `check_list` and `check_training_lists`.
    """
    data = recipe.data
    train = make_dataset("train", data.root, data.train_list)
    check_list(train, data.train_list, data.root)
    for note in check_training_lists(
        train,
        data.train_list,
        data.root,
        data.val_list,
        data.classes,
        data.ignore_index,
        data.test_list,
    ):
        warn(note)


def build_augmentation(recipe: Recipe) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A recipe's augmentation, callable with (image, label) whatever library it is of.

    Raises:
        InputError: it refuses its arguments, or albumentations warns, which it does where it drops one in silence.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        augmentation = build(recipe.augmentation, "augmentation")
    said = [str(warning.message) for warning in caught if "albumentations" in warning.filename]
    if said:
        raise InputError(f"augmentation: albumentations warns, so it would do something else: {'; '.join(said)}")
    return adapted(augmentation, whole=True)


def training_set(
    recipe: Recipe, rank: int = 0, world_size: int = 1, use_cache: bool = True, count: int | None = None
) -> tuple[SeededDataset, EpochSampler | EndlessSampler]:
    """The seeded, augmented samples of a recipe, and the order in which one rank sees them.

    Args:
        recipe: a checked recipe.
        rank, world_size: this process among all.
        use_cache: False decodes, whatever `data.cache` says: for a look at a few images.
        count: samples of one rank in the whole training, where the order is endless; see `EndlessSampler`.

    Raises:
        InputError: the list file, an image or a label that it names is missing, or an augmentation refuses its
            arguments; see `open_cache`.
    """
    sampling = recipe.sampling
    streams = data_streams(recipe)
    augmentation = build_augmentation(recipe)
    samples = image_set("train", recipe.data, augmentation, use_cache)
    dataset = SeededDataset(samples, streams, sampling.replay_augmentation)
    if sampling.order == "endless":
        seed = recipe.experiment.seed
        return dataset, EndlessSampler(len(samples), streams, seed, rank, world_size, sampling.shuffle, count)
    return dataset, EpochSampler(len(samples), streams, rank, world_size, sampling.shuffle)
