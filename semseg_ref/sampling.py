"""Which sample goes where, and with which random draws: samplers, the seeded dataset, and its loader."""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, get_worker_info

from semseg_ref.base.errors import OptionError
from semseg_ref.base.seed_streams import SeedStreams

SampleKey = tuple[int, int]


class EpochSampler(Sampler[SampleKey]):
    """Training order of one rank; yields `(epoch, index)` with both counted from 0.

    The epoch travels with the index, so that a sample's augmentation is a function of (seed, epoch, index) in any
    worker, persistent or not. Like torch's `DistributedSampler` as the reference uses it, the shuffled list is padded
    with its own beginning to a multiple of `world_size` and dealt out `rank::world_size`; 2975 images on 8 ranks give
    372 each.

    Args:
        size: number of samples in the data set, > 0.
        streams: named streams for the shuffle; None is the reference's own behaviour: `DistributedSampler` with seed 0
            under several processes, torch's global generator in one.
        rank, world_size: this process among all.
        shuffle: False keeps the list's order.
    """

    def __init__(
        self, size: int, streams: SeedStreams | None, rank: int = 0, world_size: int = 1, shuffle: bool = True
    ) -> None:
        self.size = size
        self.streams = streams
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.order: list[int] = []
        """Indices of this rank in the epoch that was iterated last, from its beginning."""
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, counted from 0, whose order the next iteration yields."""
        self.epoch = epoch
        self.start_at(0)

    def start_at(self, position: int, order: list[int] | None = None, then: Callable[[], None] | None = None) -> None:
        """Lets the iterations of this epoch begin in its middle; `len` stays that of the whole epoch.

        Args:
            position: samples of this rank to leave out.
            order: of the whole epoch, where it cannot be drawn again; None draws it.
            then: called after the order is there and before its first sample.
        """
        self.position, self._given_order, self._then = position, order, then

    def _indices(self) -> list[int]:
        if self.streams is None and self.world_size > 1:
            sampler = DistributedSampler(range(self.size), self.world_size, self.rank, shuffle=self.shuffle)
            sampler.set_epoch(self.epoch)
            return list(sampler)
        if not self.shuffle:
            order = list(range(self.size))
        elif self.streams is None:
            order = torch.randperm(self.size).tolist()
        else:
            generator = torch.Generator().manual_seed(self.streams.seed("order", self.epoch))
            order = torch.randperm(self.size, generator=generator).tolist()
        while len(order) % self.world_size:
            order += order[: self.world_size - len(order) % self.world_size]
        return order[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[SampleKey]:
        self.order = self._indices() if self._given_order is None else self._given_order
        if self._then is not None:
            self._then()
        return ((self.epoch, index) for index in self.order[self.position :])

    def __len__(self) -> int:
        return -(-self.size // self.world_size)


def evenly_spaced(size: int, count: int | None) -> list[int]:
    """`count` positions out of `size`, ascending, the first 0, at steps that differ by at most 1; None: all.

    Raises:
        OptionError: not 1..size of them.
    """
    if count is None:
        return list(range(size))
    if not 1 <= count <= size:
        raise OptionError(f"{count} images asked for, but the list has {size}")
    return [position * size // count for position in range(count)]


class ShardSampler(Sampler[int]):
    """Validation order of one rank: `rank::world_size` without padding, so that no image counts twice."""

    def __init__(self, size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(size)[rank::world_size]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class SeededDataset(Dataset):
    """Seeds python's, numpy's and torch's generator for each sample from (root seed, epoch, index) before it is drawn.

    In the training process, where a loader without workers runs, numpy's and torch's are afterwards what they were, so
    that loading changes nothing of what the training draws (dropout, an unseeded shuffle).

    Args:
        dataset: anything with `__getitem__(index) -> (image, label)`.
        streams: None leaves all generators alone, as the reference does: each worker draws from the states torch gave
            it, which differ between workers for all three.
        replay: True takes the epoch out of the key, so that every epoch replays the same draws. This is what
            the 2020 Catalyst attempt's loaders did (workers re-seeded with a constant at each epoch); a swap,
            never the default.
    """

    def __init__(self, dataset: Dataset, streams: SeedStreams | None, replay: bool = False) -> None:
        self.dataset = dataset
        self.streams = streams
        self.replay = replay

    def __getitem__(self, key: SampleKey | int) -> tuple:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.streams is None:
            return self.dataset[index]
        position = 0 if self.replay else epoch, index
        if get_worker_info() is not None:
            self.streams.seed_augmentation(*position)
            return self.dataset[index]
        numpy_state, torch_state = np.random.get_state(), torch.default_generator.get_state()
        try:
            self.streams.seed_augmentation(*position)
            return self.dataset[index]
        finally:
            np.random.set_state(numpy_state)
            torch.default_generator.set_state(torch_state)

    def __len__(self) -> int:
        return len(self.dataset)


def single_threaded_worker(_worker_id: int) -> None:
    """Start of a loader process."""
    # A worker per core is already parallel: OpenCV's own threads only get in each other's way.
    cv2.setNumThreads(0)


def build_loader(
    dataset: Dataset,
    sampler: Sampler,
    batch_size: int,
    workers: int,
    drop_last: bool,
    pin_memory: bool | None = None,
    persistent_workers: bool = False,
    kind: Callable[..., DataLoader] = DataLoader,
    **options: Any,
) -> DataLoader:
    """DataLoader as the reference makes it.

    Args:
        dataset: usually a `SeededDataset`.
        sampler: `EpochSampler` (train) or `ShardSampler` (validation).
        batch_size: samples per process and step.
        workers: loader processes of this process; 0 loads in the training process.
        drop_last: the reference drops the last incomplete batch in training and keeps it in validation.
        pin_memory: None pins when a GPU is visible.
        persistent_workers: keeps the workers between epochs; the draws stay the same, since the epoch travels in
            the key.
        kind: makes it of the arguments of torch's DataLoader.
        options: more of those.
    """
    return kind(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        persistent_workers=persistent_workers and workers > 0,
        **{"worker_init_fn": single_threaded_worker, **options},
    )
