"""What the network sees in training: the augmented samples of an epoch as pictures again, labels on top."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch

from catalyst_cityscapes.data.training_set import training_set
from catalyst_cityscapes.recipe.length import length_in_one_process
from catalyst_cityscapes.recipe.normalisation import stated_normalisations
from catalyst_cityscapes.recipe.schema import Node, Recipe, Sampling
from catalyst_cityscapes.report.drawing import Cell, overlay
from semseg_ref.base.errors import InputError, OptionError
from semseg_ref.dataset import read_image, read_label
from semseg_ref.sampling import SeededDataset

Normalisation = tuple[Sequence[float], Sequence[float] | None]


@dataclass(frozen=True)
class SeenSample:
    """One training sample as the loader would deliver it.

    `position` counts from 0 in the epoch's order over all processes; `step` is the optimiser's, None for a sample of
    the incomplete last batch that the recipe drops; `image` is the network's input float32 [3, h, w]; `label` is
    int64 [h, w].
    """

    position: int
    step: int | None
    image_path: str
    label_path: str
    image: np.ndarray
    label: np.ndarray


def seen_samples(recipe: Recipe, epoch: int, count: int) -> Iterator[SeenSample]:
    """The first `count` samples of an epoch, by the training's own dataset and order.

    Args:
        recipe: a checked recipe.
        epoch: counted from 0.
        count: more than the list has gives the whole list.

    Raises:
        OptionError: an epoch that the recipe does not train.
        InputError: see `training_set`; on iterating, unreadable files, or an augmentation whose result is no pair of
            tensors [3, h, w] and [h, w].
    """
    dataset, order = training_set(recipe, use_cache=False)
    epochs = recipe.experiment.epochs or _epochs(recipe, len(dataset))
    if not 0 <= epoch < epochs:
        raise OptionError(f"--epoch {epoch}: this recipe trains epochs 0..{epochs - 1}")
    order.set_epoch(epoch)
    # In an endless order, steps are counted from the beginning and no sample is dropped.
    first = epoch * len(dataset) if recipe.sampling.order == "endless" else None
    return _samples(dataset, list(islice(order, count)), recipe.sampling, first)


def _epochs(recipe: Recipe, images: int) -> int:
    """Passes over the data that a training in iterations begins, in one process; permutations of an endless order."""
    length, batch = length_in_one_process(recipe, images), recipe.sampling.batch_size
    return math.ceil(length.total_batches * batch / images if length.endless else length.epochs)


def _samples(
    dataset: SeededDataset, keys: list[tuple[int, int]], sampling: Sampling, first: int | None
) -> Iterator[SeenSample]:
    trained = len(dataset)
    if sampling.drop_last and first is None:
        trained -= len(dataset) % sampling.batch_size
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # as in the training's loaders
    try:
        for position, key in enumerate(keys):
            paths = dataset.dataset.data_list[key[1]]
            image, label = dataset[key]
            if not (isinstance(image, torch.Tensor) and image.ndim == 3 and image.shape[0] == 3):
                raise InputError(
                    f"augmentation: {paths[0]}: expected a tensor [3, h, w] at its end; is to_tensor last?"
                )
            step = ((first or 0) + position) // sampling.batch_size if position < trained else None
            yield SeenSample(position, step, *paths, image.numpy(), np.asarray(label))
    finally:
        cv2.setNumThreads(threads)


def normalisation(augmentation: Node) -> Normalisation | None:
    """(mean, std) in grey levels of the augmentation's last node that states both; None without such a node."""
    stated = stated_normalisations(augmentation)
    return (stated[-1].mean, stated[-1].std) if stated else None


def denormalised(image: np.ndarray, normalised_by: Normalisation | None) -> np.ndarray:
    """The network's input float32 [3, h, w] as a picture, uint8 [h, w, 3], RGB; clipped to 0..255."""
    values = image.astype(np.float32)
    if normalised_by is not None:
        mean, std = normalised_by
        if std is not None:
            values = values * np.asarray(std, np.float32)[:, None, None]
        values = values + np.asarray(mean, np.float32)[:, None, None]
    return np.ascontiguousarray(np.rint(values).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def sample_cell(
    sample: SeenSample, recipe: Recipe, colors: np.ndarray, normalised_by: Normalisation | None, originals: bool
) -> Cell:
    """A sample for the sheet: input and input with labels, then, asked for, the files as they are on disk."""
    seen = denormalised(sample.image, normalised_by)
    label = sample.label.astype(np.uint8)
    pictures = [seen, overlay(seen, label, colors)]
    if originals:
        image = read_image(sample.image_path).astype(np.uint8)
        pictures += [image, overlay(image, read_label(sample.label_path), colors)]
    step = "dropped (incomplete batch)" if sample.step is None else f"step {sample.step}"
    ignored = float((label == recipe.data.ignore_index).mean())
    details = (
        f"{step}   {seen.shape[0]} x {seen.shape[1]}   input mean {sample.image.mean():+.2f} "
        f"std {sample.image.std():.2f}   ignored {ignored:.1%}"
    )
    title = f"{sample.position}  {sample.image_path.rpartition('/')[2]}"
    return Cell(title, details, tuple(pictures))
