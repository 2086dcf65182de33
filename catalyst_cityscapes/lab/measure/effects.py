"""All that is measured of a recipe, in one value: what `lint` judges and `diff` compares."""

import math
from dataclasses import dataclass

from torch.nn.modules.batchnorm import _BatchNorm

from catalyst_cityscapes.callbacks.sync_bn import SyncBNConversion
from catalyst_cityscapes.data.training_set import build_augmentation, data_streams, training_set
from catalyst_cityscapes.lab.measure.geometry import Colours, Draw, measure_colours, measure_draw
from catalyst_cityscapes.lab.measure.optimisation import Optimisation, accumulation_steps, measure_optimisation
from catalyst_cityscapes.lab.measure.samples import Samples, measure_samples
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.protocols import protocol_of, protocol_value
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import OptionError
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
        batches_per_epoch: forward passes of one process.
        epochs: of the training.
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
    epochs: int
    steps: int
    seen: int
    dropped: int
    bn_group: int
    synchronised: bool
    processes: int


@dataclass(frozen=True)
class Effects:
    """What a recipe does.

    `draws` come from `len(draws)` images at consecutive positions of epoch 0; `parameters` and `batch_norms` count
    the network's; `samples` is None where the data was assumed.
    """

    recipe: Recipe
    exposure: Exposure
    optimisation: Optimisation
    draws: tuple[Draw, ...]
    colours: Colours
    samples: Samples | None
    protocol: Protocol
    test_scale: float
    """Test pixels per native pixel at scale 1: the protocol's base size over the image's long side."""
    parameters: int
    batch_norms: int


@dataclass(frozen=True)
class AssumedData:
    """What stands for a data set that is not there: Cityscapes' training images, unless told otherwise."""

    images: int = 2975
    image_size: tuple[int, int] = (1024, 2048)


def measure(
    recipe: Recipe, processes: int = 8, draws: int = 24, samples: int = 8, assumed: AssumedData | None = None
) -> Effects:
    """Measures a recipe without training it; a minute at most at Cityscapes' size on two cores.

    Args:
        recipe: a checked recipe; its lists and images must be there, unless `assumed` stands for them.
        processes: how many would train it.
        draws: of the augmentation on known images.
        samples: real training samples to draw; none where data is assumed.
        assumed: number and size of images to reckon with instead of reading any.

    Raises:
        InputError: a missing list or image, or a component that refuses its arguments.
    """
    network = recipe_network(recipe)
    if assumed is None:
        data_list = training_set(recipe)[0].dataset.data_list
        images, size = len(data_list), read_image(data_list[0][0]).shape[:2]
        pairs = make_dataset("val", recipe.data.root, recipe.data.val_list)
        protocol, test_size = protocol_of(recipe, pairs), read_image(pairs[0][0]).shape[:2]
    else:
        images, size = assumed.images, assumed.image_size
        protocol, test_size = protocol_value(recipe, size), size
    exposure = measure_exposure(recipe, processes, images, size)
    augmentation = build_augmentation(recipe)
    streams = data_streams(recipe) or SeedStreams(0)
    data = recipe.data
    return Effects(
        recipe=recipe,
        exposure=exposure,
        optimisation=measure_optimisation(recipe, network, exposure.batches_per_epoch),
        draws=tuple(
            measure_draw(augmentation, size, data.classes, data.ignore_index, streams, 0, index)
            for index in range(draws)
        ),
        colours=measure_colours(augmentation, size, streams),
        samples=None if assumed else measure_samples(recipe, samples),
        protocol=protocol,
        test_scale=protocol.base_size / max(test_size),
        parameters=sum(p.numel() for p in network.parameters()),
        batch_norms=sum(isinstance(m, _BatchNorm) for m in network.modules()),
    )


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
    if not batches:
        raise OptionError(f"sampling.batch_size: {sampling.batch_size} leaves no full batch of {images} images")
    accumulation = accumulation_steps(recipe)
    used = batches * per_process if sampling.drop_last else share
    built = (build(node, f"callbacks.{name}") for name, node in recipe.callbacks.items() if node is not None)
    synchronised = processes > 1 and any(isinstance(callback, SyncBNConversion) for callback in built)
    epochs = recipe.experiment.epochs
    return Exposure(
        images=images,
        image_size=image_size,
        batch=per_process * processes * accumulation,
        batch_per_process=per_process,
        batches_per_epoch=batches,
        epochs=epochs,
        steps=epochs * math.ceil(batches / accumulation),
        seen=epochs * used * processes,
        dropped=(share - used) * processes,
        bn_group=per_process * (processes if synchronised else 1),
        synchronised=synchronised,
        processes=processes,
    )
