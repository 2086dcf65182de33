"""A recipe and all that `lint` and `diff` both measure of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from catalyst_cityscapes.callbacks.sync_bn import SyncBNConversion
from catalyst_cityscapes.data.augmentation.colour_steps import without_colour_steps
from catalyst_cityscapes.data.training_set import build_augmentation, data_streams, training_set
from catalyst_cityscapes.inference.geometry import scale_of_test
from catalyst_cityscapes.lab.measure.geometry import (
    Augmentation,
    Colours,
    Draw,
    measure_colours,
    measure_draw,
    measure_normalisation,
)
from catalyst_cityscapes.lab.measure.optimisation import Optimisation, accumulation_steps, measure_optimisation
from catalyst_cityscapes.lab.measure.samples import Samples, measure_samples
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.length import length_of
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.protocols import protocol_of, protocol_value
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import DataError, InputError, OptionError
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.dataset import make_dataset, read_image
from semseg_ref.protocol import Protocol


@dataclass(frozen=True)
class Exposure:
    """How much of the data the network gets to see.

    Attributes:
        images: in the training list.
        image_size: (height, width) of the first.
        batch: images a step over all processes, gradient accumulation included.
        batch_per_process: images in one forward pass.
        batches_per_epoch: forward passes of one process in one pass over the data.
        epochs: passes over the data of the training; a fraction where it counts iterations.
        steps: optimiser steps.
        seen: images over the whole training, counted with repetition.
        dropped: images a process leaves out at the end of each epoch, over all processes.
        bn_group: images over which batch norm takes its statistics.
        synchronised: batch norm takes them over all processes.
        processes: number of training processes that this was computed for.
    """

    images: int
    image_size: tuple[int, int]
    batch: int
    batch_per_process: int
    batches_per_epoch: int
    epochs: float
    steps: int
    seen: int
    dropped: int
    bn_group: int
    synchronised: bool
    processes: int


@dataclass(frozen=True)
class DataSize:
    """What a measurement must know of the data set; without one, Cityscapes' training images stand for it.

    Attributes:
        images: in the training list.
        size, test_size: (height, width) of a training image and of one that is tested.
        pairs: (image path, label path) of the tested images; None where no data is read.
    """

    images: int = 2975
    size: tuple[int, int] = (1024, 2048)
    test_size: tuple[int, int] = (1024, 2048)
    pairs: Sequence[tuple[str, str]] | None = None


def read_data_size(recipe: Recipe) -> DataSize:
    """Of the recipe's lists and their first images.

    Raises:
        DataError: a missing list or image.
    """
    data_list = training_set(recipe)[0].dataset.data_list
    pairs = make_dataset("val", recipe.data.root, recipe.data.val_list)
    sizes = (read_image(image).shape[:2] for image in (data_list[0][0], pairs[0][0]))
    return DataSize(len(data_list), *sizes, pairs)


class RecipeProfile:
    """A recipe and what is measured of it, without training it: what `lint` judges and `diff` compares.

    Each part is measured when it is first asked for, and raises InputError where the recipe's component refuses its
    arguments, or an image cannot be read. All of it takes a minute at most at Cityscapes' size on two cores.
    """

    def __init__(self, recipe: Recipe, processes: int, data: DataSize, draws: int = 24, samples: int = 8) -> None:
        """Nothing is measured yet.

        Args:
            recipe: a checked recipe.
            processes: how many would train it.
            data: see `read_data_size`.
            draws: of the augmentation on known images, at consecutive positions of epoch 0.
            samples: real training samples to draw; none where no data is read.
        """
        self.recipe = recipe
        self.processes = processes
        self.data = data
        self._counts = draws, samples

    @cached_property
    def network(self) -> nn.Module:
        """The built network."""
        return recipe_network(self.recipe)

    @cached_property
    def augmentation(self) -> Augmentation:
        """The built augmentation."""
        return build_augmentation(self.recipe)

    @cached_property
    def exposure(self) -> Exposure:
        """How much of the data the network gets to see."""
        return measure_exposure(self.recipe, self.processes, self.data.images, self.data.size)

    @cached_property
    def optimisation(self) -> Optimisation:
        """Rates, momenta, decay and travel over the whole training."""
        return measure_optimisation(self.recipe, self.network, self.exposure.batches_per_epoch)

    @cached_property
    def _without_colour(self) -> Augmentation | None:
        rest = without_colour_steps(self.augmentation)
        return None if rest is self.augmentation else rest

    @cached_property
    def draws(self) -> tuple[Draw, ...]:
        """What the augmentation did to known images."""
        data, streams = self.recipe.data, self._streams()
        places = self._without_colour
        try:
            return tuple(
                measure_draw(
                    self.augmentation, self.data.size, data.classes, data.ignore_index, streams, 0, index, places
                )
                for index in range(self._counts[0])
            )
        except (cv2.error, ValueError, TypeError, IndexError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            # A step from elsewhere says what it does not like in its own way.
            raise DataError(f"augmentation: fails on a known image: {type(error).__name__}: {error}") from error

    @cached_property
    def normalisation(self) -> np.ndarray:
        """Mean and std of `(value - mean) / std` in grey levels, float64 [2, 3]: the median over the draws.

        Colour steps that draw are left out: a contrast is no other normalisation. NaN where nothing is visible.
        """
        rest = without_colour_steps(self.augmentation, only_drawn=True)
        if rest is self.augmentation:
            found = [np.array([draw.mean, draw.std]) for draw in self.draws]
        else:
            streams = self._streams()
            found = [measure_normalisation(rest, self.data.size, streams, 0, i) for i in range(self._counts[0])]
        seen = [each for each in found if np.isfinite(each).all()]
        return np.median(seen, axis=0) if seen else np.full((2, 3), np.nan)

    @cached_property
    def colours(self) -> Colours:
        """What the augmentation does to black, white and coloured images."""
        return measure_colours(self.augmentation, self.data.size, self._streams(), without_colour=self._without_colour)

    @cached_property
    def samples(self) -> Samples | None:
        """Of the training; None where no data is read."""
        return None if self.data.pairs is None else measure_samples(self.recipe, self._counts[1])

    @cached_property
    def protocol(self) -> Protocol:
        """How it is tested."""
        pairs = self.data.pairs
        return protocol_value(self.recipe, self.data.size) if pairs is None else protocol_of(self.recipe, pairs)

    @property
    def test_scale(self) -> float:
        """Test pixels per native pixel at scale 1."""
        return scale_of_test(self.protocol, self.data.test_size)

    @property
    def parameters(self) -> int:
        """Parameters of the network, trained or not."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def batch_norms(self) -> int:
        """Batch norm layers of the network."""
        return sum(isinstance(module, _BatchNorm) for module in self.network.modules())

    def _streams(self) -> SeedStreams:
        return data_streams(self.recipe) or SeedStreams(0)


def measure_exposure(recipe: Recipe, processes: int, images: int, image_size: tuple[int, int]) -> Exposure:
    """Counts images and steps as the runner would.

    Args:
        recipe: a checked recipe.
        processes: how many would train it.
        images, image_size: of the training list; (height, width).

    Raises:
        OptionError: a batch smaller than one a process, or no full batch.
    """
    sampling = recipe.sampling
    per_process = sampling.batch_size if sampling.per_process else sampling.batch_size // processes
    if per_process < 1:
        raise OptionError(
            f"sampling.batch_size: {sampling.batch_size} is less than one per process ({processes} processes)"
        )
    share = math.ceil(images / processes)
    batches = share // per_process if sampling.drop_last else math.ceil(share / per_process)
    if sampling.order == "endless":
        batches = max(images // processes // per_process, 1)
    if not batches:
        raise OptionError(f"sampling.batch_size: {sampling.batch_size} leaves no full batch of {images} images")
    accumulation = accumulation_steps(recipe)
    used = batches * per_process if sampling.drop_last else share
    built = (build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items() if node is not None)
    synchronised = processes > 1 and any(isinstance(callback, SyncBNConversion) for callback in built)
    length = length_of(recipe, batches, accumulation)
    whole, rest = divmod(length.total_batches, batches)
    seen = whole * used + rest * per_process
    if length.endless:
        seen, used = length.total_batches * per_process, share
    return Exposure(
        images=images,
        image_size=image_size,
        batch=per_process * processes * accumulation,
        batch_per_process=per_process,
        batches_per_epoch=batches,
        epochs=seen * processes / images if length.endless else length.epochs,
        steps=length.total_steps,
        seen=seen * processes,
        dropped=(share - used) * processes,
        bn_group=per_process * (processes if synchronised else 1),
        synchronised=synchronised,
        processes=processes,
    )
