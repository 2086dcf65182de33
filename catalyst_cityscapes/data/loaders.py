"""Loaders whose processes outlive a signal, can be ended in the middle of an epoch, and read on into the next one."""

import copy
import functools
import random
import signal
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from semseg_ref import sampling
from semseg_ref.sampling import EpochSampler, SampleKey, single_threaded_worker

SECONDS_TO_SAVE = 120
"""How long loader processes outlive a SIGTERM, where they are told to."""


def _outliving_worker(worker_id: int, seed: int | None = None) -> None:
    # Schedulers send SIGTERM to all processes of a job at once; the training process still needs its batches to come
    # to the end of its step.
    single_threaded_worker(worker_id)
    if seed is not None:
        random.seed(seed + worker_id)
        np.random.seed((seed + worker_id) % 2**32)
        torch.manual_seed(seed + worker_id)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_SAVE))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # A terminal sends Ctrl-C to all of them too, and one that is just ending would print a traceback; the training
    # process ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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


class RoundLoader:
    """The batches of a training loader from one position of the training to another, across the ends of epochs.

    An iteration gives one round's batches. The loader's own iteration, and with it what its processes have read ahead,
    is kept from one round to the next; another position than the next one starts the reading anew.

    Args:
        loader: whose sampler knows `set_epoch` and `start_at`.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.dataset, self.sampler = loader, loader.dataset, loader.sampler
        self.batch_size = loader.batch_size
        self.batch_sampler, self.drop_last = loader.batch_sampler, loader.drop_last  # Catalyst asks for them
        self._batches: Iterator[Any] | None = None
        self._next: tuple[int, int] | None = None
        self.start, self.done, self.count = (0, 0), 0, 0
        self._given: tuple[list[int] | None, Callable[[], None] | None] = (None, None)

    def set_round(self, start: tuple[int, int], done: int, count: int) -> None:
        """Sets what the next iteration gives.

        Args:
            start: epoch, and batch in it, of the first batch that is given, both counted from 0.
            done: batches of the round that are left out, since an earlier run had them.
            count: batches of the whole round.
        """
        self.start, self.done, self.count = start, done, count

    def go_on_with(self, order: list[int] | None, then: Callable[[], None]) -> None:
        """What the sampler's `start_at` is given beside the position when the next iteration begins."""
        self._given = (order, then)

    def __iter__(self) -> Iterator[Any]:
        epoch, batch = self.start
        if self._next != self.start:
            self.stop()
        for _ in range(self.done, self.count):
            if self._batches is None:
                self.sampler.set_epoch(epoch)
                self.sampler.start_at(batch * self.batch_size, *self._given)
                self._given = (None, None)
                self._batches = iter(self.loader)
            yield next(self._batches)
            batch += 1
            if batch == len(self.loader):
                next(self._batches, None)  # its end: plain loader processes end, those across epochs go on
                self._batches, epoch, batch = None, epoch + 1, 0
            self._next = (epoch, batch)

    def __len__(self) -> int:
        return self.count

    def stop(self) -> None:
        """Ends the loader processes, and forgets what they have read."""
        if hasattr(self.loader, "stop"):
            self.loader.stop()
        self._batches, self._next = None, None


def build_loader(
    dataset: Dataset,
    sampler: Sampler,
    batch_size: int,
    workers: int,
    drop_last: bool,
    outlive_sigterm: bool = False,
    collate: Callable[[list], Any] | None = None,
    across_epochs: int | None = None,
    worker_seed: int | None = None,
    **options: bool,
) -> Loader:
    """The reference's loader, with what a training needs that may be stopped.

    Args:
        dataset, sampler, batch_size, workers, drop_last: see `semseg_ref.sampling.build_loader`.
        outlive_sigterm: loader processes go on for `SECONDS_TO_SAVE` after a SIGTERM; the caller calls `stop`.
        collate: makes a batch of samples; None is torch's own.
        across_epochs: number of epochs, for a `LoaderAcrossEpochs`; the sampler is an `EpochSampler` with streams.
        worker_seed: loader process w seeds python's, numpy's and torch's generators with this plus w when it starts,
            as mmengine's do; None leaves them to torch. For `outlive_sigterm`.
        options: `pin_memory` and `persistent_workers`, see there.
    """
    return sampling.build_loader(
        dataset,
        sampler,
        batch_size,
        workers,
        drop_last,
        kind=Loader if across_epochs is None else functools.partial(LoaderAcrossEpochs, epochs=across_epochs),
        collate_fn=collate,
        worker_init_fn=functools.partial(_outliving_worker, seed=worker_seed)
        if outlive_sigterm
        else single_threaded_worker,
        **options,
    )
