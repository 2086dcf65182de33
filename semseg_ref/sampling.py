"""Which sample goes where, and with which random draws: samplers, the seeded dataset, and the loaders of both arms."""

import copy
import signal
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, Sampler

from semseg_ref.base.errors import OptionError
from semseg_ref.base.seed_streams import SeedStreams

SampleKey = tuple[int, int]
SECONDS_TO_SAVE = 120
"""How long loader processes outlive a SIGTERM, where they are told to."""


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
    """Seeds python's `random` for each sample from (root seed, epoch, index) before its transform draws.

    Args:
        dataset: anything with `__getitem__(index) -> (image, label)`.
        streams: None leaves `random` alone, as the reference does: each worker draws from the state torch gave it.
        replay: True takes the epoch out of the key, so that every epoch replays the same draws. This is what
            the earlier Catalyst attempt's loaders did (workers re-seeded with a constant at each epoch); a swap,
            never the default.
    """

    def __init__(self, dataset: Dataset, streams: SeedStreams | None, replay: bool = False) -> None:
        self.dataset = dataset
        self.streams = streams
        self.replay = replay

    def __getitem__(self, key: SampleKey | int) -> tuple:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.streams is not None:
            self.streams.seed_augmentation(0 if self.replay else epoch, index)
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)


def _single_threaded_worker(_worker_id: int) -> None:
    # A worker per core is already parallel: OpenCV's own threads only get in each other's way.
    cv2.setNumThreads(0)


def _outliving_worker(worker_id: int) -> None:
    # Schedulers send SIGTERM to all processes of a job at once; the training process still needs its batches to come
    # to the end of its step.
    _single_threaded_worker(worker_id)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_SAVE))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class Loader(DataLoader):
    """DataLoader whose processes can be ended in the middle of an epoch."""

    _running: Callable[[], Any] | None = None

    def __iter__(self) -> Any:
        iterator = super().__iter__()
        self._running = weakref.ref(iterator)
        return iterator

    def stop(self) -> None:
        """Ends the loader processes of an iteration that will not be finished, or that were kept for the next one."""
        iterator = None if self._running is None else self._running()
        if iterator is not None and self.num_workers:
            iterator._shutdown_workers()
            self._iterator = None  # torch would go on with the ended processes


class EpochBatches(Sampler[list[SampleKey]]):
    """The batches of an epoch from a position on, and of all epochs after it."""

    def __init__(self, sampler: EpochSampler, position: int, epochs: int, batch_size: int, drop_last: bool) -> None:
        self.sampler, self.position, self.epochs = sampler, position, epochs
        self.batch_size, self.drop_last = batch_size, drop_last
        self.first = sampler.epoch

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch in range(self.first, self.epochs):
            # A copy: the loader's own sampler is for those who ask what the present epoch's order is.
            sampler = copy.copy(self.sampler)
            sampler.set_epoch(epoch)
            sampler.start_at(self.position if epoch == self.first else 0)
            yield from BatchSampler(sampler, self.batch_size, self.drop_last)


class LoaderAcrossEpochs(Loader):
    """A loader that goes on with the next epoch's batches while this one ends.

    Each iteration gives one epoch's batches, the same as a plain loader's, since a sample follows from its position.
    What was read ahead is kept between iterations; an epoch that was broken off, or another than the next one, starts
    the reading anew.

    Args:
        epochs: their number; nothing is read beyond.
        dataset, batch_size, sampler, drop_last, options: as of torch's DataLoader; the sampler has streams.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, sampler: EpochSampler, drop_last: bool, epochs: int, **options: Any
    ) -> None:
        options.pop("persistent_workers", None)
        super().__init__(dataset, batch_size, sampler=sampler, drop_last=drop_last, **options)
        self._options, self._epochs = options, epochs
        self._reader: Loader | None = None
        self._batches: Iterator[Any] = iter(())
        self._next: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:
        epoch, position = self.sampler.epoch, self.sampler.position
        iter(self.sampler)  # draws the order, for those who ask
        if self._next != (epoch, position):
            self.stop()
            batches = EpochBatches(self.sampler, position, self._epochs, self.batch_size, self.drop_last)
            self._reader = Loader(self.dataset, batch_sampler=batches, **self._options)
            self._batches = iter(self._reader)
        self._next = None
        for _ in range(position // self.batch_size, len(self)):
            yield next(self._batches)
        if epoch + 1 < self._epochs:
            self._next = (epoch + 1, 0)
        else:
            self.stop()

    def stop(self) -> None:
        """Ends the loader processes, and forgets what they have read."""
        if self._reader is not None:
            self._reader.stop()
        self._reader, self._batches, self._next = None, iter(()), None


def build_loader(
    dataset: Dataset,
    sampler: Sampler,
    batch_size: int,
    workers: int,
    drop_last: bool,
    pin_memory: bool | None = None,
    persistent_workers: bool = False,
    outlive_sigterm: bool = False,
    collate: Callable[[list], Any] | None = None,
    across_epochs: int | None = None,
) -> Loader:
    """DataLoader of both arms.

    Args:
        dataset: usually a `SeededDataset`.
        sampler: `EpochSampler` (train) or `ShardSampler` (validation).
        batch_size: samples per process and step.
        workers: loader processes of this process; 0 loads in the training process.
        drop_last: the reference drops the last incomplete batch in training and keeps it in validation.
        pin_memory: None pins when a GPU is visible.
        persistent_workers: keeps the workers between epochs; the draws stay the same, since the epoch travels in
            the key.
        outlive_sigterm: loader processes go on for `SECONDS_TO_SAVE` after a SIGTERM; the caller calls `stop`.
        collate: makes a batch of samples; None is torch's own.
        across_epochs: number of epochs, for a `LoaderAcrossEpochs`; the sampler is an `EpochSampler` with streams.
    """
    more = {} if across_epochs is None else {"epochs": across_epochs}
    return (Loader if across_epochs is None else LoaderAcrossEpochs)(
        dataset,
        **more,
        collate_fn=collate,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        persistent_workers=persistent_workers and workers > 0,
        worker_init_fn=_outliving_worker if outlive_sigterm else _single_threaded_worker,
    )
