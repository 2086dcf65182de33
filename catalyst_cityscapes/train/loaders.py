"""The loaders of a recipe, for one process among all."""

import math
from collections import OrderedDict

import cv2
from torch import nn
from torch.utils.data import DataLoader

from catalyst_cityscapes.data.loaders import build_loader
from catalyst_cityscapes.data.training_set import check_data, training_set
from catalyst_cityscapes.recipe.length import length_of
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.transfer import collate_narrow
from catalyst_cityscapes.train.validation import validation_set
from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError
from semseg_ref.checks.batch import needs_several_images, smallest_batch
from semseg_ref.checks.workers import shared_memory_warning
from semseg_ref.protocol import Protocol
from semseg_ref.sampling import ShardSampler


def process_batch(recipe: Recipe, world: int) -> int:
    """Images of a training step in each process.

    Raises:
        OptionError: less than one.
    """
    sampling = recipe.sampling
    batch = sampling.batch_size if sampling.per_process else sampling.batch_size // world
    if batch < 1:
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} is less than one per process ({world} processes)"
        )
    return batch


def check_smallest_batch(recipe: Recipe, network: nn.Module, samples: int, world: int = 1) -> None:
    """Raises OptionError where a batch of a single image will come that the network cannot be trained on.

    Args:
        recipe: a checked recipe.
        network: the bare network, as it will be trained.
        samples: of an epoch in each process.
        world: number of processes.
    """
    sampling, batch = recipe.sampling, process_batch(recipe, world)
    if smallest_batch(samples, batch, sampling.drop_last) > 1 or not needs_several_images(network, recipe.data.crop):
        return
    why = "which this network cannot be trained on: it has batch norm on maps of 1 x 1 pixels"
    if batch == 1:
        each = "" if world == 1 else f" in each of {world} processes"
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} makes batches of a single image{each}, {why}; make it at "
            f"least {2 if sampling.per_process else 2 * world}"
        )
    raise OptionError(
        f"sampling.drop_last: false leaves a last batch of a single image ({samples} images in batches of {batch}), "
        f"{why}; set it to true, or choose another sampling.batch_size"
    )


def _epochs_to_read(recipe: Recipe, samples: int, batch: int, accumulation: int) -> int | None:
    """Epochs of a loader that reads on into the next one; None for another, also of an endless order, which has none.

    Args:
        recipe: a checked recipe.
        samples: of an epoch in each process.
        batch: images of a step in each process.
        accumulation: batches of an optimiser step.
    """
    sampling = recipe.sampling
    if not sampling.across_epochs or sampling.order == "endless":
        return None
    batches = samples // batch if sampling.drop_last else -(-samples // batch)
    return math.ceil(length_of(recipe, max(batches, 1), accumulation).epochs)


def build_loaders(
    recipe: Recipe, rank: int, world: int, accumulation: int = 1
) -> tuple["OrderedDict[str, DataLoader]", Protocol | None]:
    """Training loader, and the validation loader where the recipe validates; totals are split over all processes.

    Args:
        recipe: a checked recipe.
        rank, world: this process among all.
        accumulation: batches of an optimiser step.

    Returns:
        Loaders by name, and how validation images are predicted (None: the centre crop).

    Raises:
        InputError: a list, image or label that cannot be used, or a batch that does not fit.
    """
    cv2.setNumThreads(0)
    data, sampling = recipe.data, recipe.sampling
    batch = process_batch(recipe, world)
    workers = sampling.workers if sampling.per_process else math.ceil(sampling.workers / world)
    if sampling.across_epochs and recipe.experiment.seed is None:
        raise OptionError("sampling.across_epochs: needs experiment.seed, for orders known beforehand; set it to false")
    check_data(recipe)
    told = shared_memory_warning(workers * world, batch, data.crop)
    if told is not None:
        warn(told)
    collate = collate_narrow if recipe.engine.transfer == "overlapped" else None
    iterations, seed = recipe.experiment.iterations, recipe.experiment.seed
    endless = sampling.order == "endless"
    train, order = training_set(recipe, rank, world, count=iterations * accumulation * batch if endless else None)
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
        across_epochs=_epochs_to_read(recipe, len(order), batch, accumulation),
        # mmengine's: the number of processes of a rank times the rank, plus its own, plus the seed.
        worker_seed=seed + workers * rank if endless and sampling.seed_stream == "reference" else None,
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
