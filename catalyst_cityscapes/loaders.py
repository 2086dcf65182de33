"""The loaders of a recipe, for one process among all."""

import math
from collections import OrderedDict

import cv2
from torch.utils.data import DataLoader

from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.training_set import training_set
from catalyst_cityscapes.transfer import collate_narrow
from catalyst_cityscapes.validation import validation_set
from semseg_ref.errors import OptionError
from semseg_ref.protocol import Protocol
from semseg_ref.sampling import ShardSampler, build_loader


def build_loaders(recipe: Recipe, rank: int, world: int) -> tuple["OrderedDict[str, DataLoader]", Protocol | None]:
    """Training loader, and the validation loader where the recipe validates; totals are split over all processes.

    Args:
        recipe: a checked recipe.
        rank, world: this process among all.

    Returns:
        Loaders by name, and how validation images are predicted (None: the centre crop).

    Raises:
        InputError: a list, image or label that cannot be used, or a batch that does not fit.
    """
    cv2.setNumThreads(0)
    data, sampling = recipe.data, recipe.sampling
    batch = sampling.batch_size if sampling.per_process else sampling.batch_size // world
    workers = sampling.workers if sampling.per_process else math.ceil(sampling.workers / world)
    if sampling.across_epochs and recipe.experiment.seed is None:
        raise OptionError("sampling.across_epochs: needs experiment.seed, for orders known beforehand; set it to false")
    if batch < 1:
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} is less than one per process ({world} processes)"
        )
    collate = collate_narrow if recipe.engine.transfer == "overlapped" else None
    train, order = training_set(recipe, rank, world)
    loaders = OrderedDict()
    loaders["train"] = build_loader(
        train,
        order,
        batch,
        workers,
        sampling.drop_last,
        persistent_workers=sampling.persistent_workers,
        outlive_sigterm=True,
        collate=collate,
        across_epochs=recipe.experiment.epochs if sampling.across_epochs else None,
    )
    if len(loaders["train"]) == 0:
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} leaves no full batch of {len(train)} images "
            f"in {data.train_list}; make it smaller, or set sampling.drop_last: false"
        )
    protocol = None
    if recipe.validation.every:
        valid, protocol = validation_set(recipe, world)
        val_batch = 1 if protocol else max(recipe.validation.batch_size // world, 1)
        shard = ShardSampler(len(valid), rank, world)
        loaders["valid"] = build_loader(valid, shard, val_batch, workers, drop_last=False, outlive_sigterm=True)
    return loaders, protocol
