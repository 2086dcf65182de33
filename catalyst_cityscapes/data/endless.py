"""mmsegmentation's training order: one permutation after the other, without an end of an epoch."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch.utils.data import Sampler

from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.sampling import SampleKey


class EndlessSampler(Sampler[SampleKey]):
    """Training order of one rank; yields `(permutation, index)`, both counted from 0.

    All ranks share one stream of permutations of the whole set, of which rank r takes the elements r, r + W, r + 2 W,
    ...; nothing is padded and nothing dropped. Each image comes once in each permutation, so that its augmentation
    follows from the key as it does from an epoch. Source: mmengine 0.10.7, InfiniteSampler (index streams).

    Args:
        size: number of samples in the data set, > 0.
        streams: named streams, one position of `order` for each permutation; None is mmengine's own seeding, one
            generator for all permutations.
        seed: of that generator.
        rank, world_size: this process among all.
        shuffle: False repeats the list's order.
        samples: of this rank, from the very beginning; None: those of one permutation from where it begins.
    """

    def __init__(
        self,
        size: int,
        streams: SeedStreams | None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        samples: int | None = None,
    ) -> None:
        self.size, self.streams, self.seed = size, streams, seed
        self.rank, self.world_size, self.shuffle = rank, world_size, shuffle
        self.samples = samples
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Lets the next iteration begin with this rank's first sample of a permutation, counted from 0."""
        self.start_at(max(-(-(epoch * self.size - self.rank) // self.world_size), 0))

    def start_at(self, position: int, order: None = None, then: Callable[[], None] | None = None) -> None:
        """Lets the iterations begin after so many samples of this rank.

        Args:
            position: samples of this rank from the very beginning.
            order: always None, since it can be drawn again; here as in `EpochSampler`.
            then: called before the first sample.
        """
        self.position, self._then = position, then

    def permutation_of(self, position: int) -> int:
        """Which permutation a sample of this rank is of, both counted from 0."""
        return (self.rank + position * self.world_size) // self.size

    def keys(self, start: int, stop: int) -> list[SampleKey]:
        """Those of this rank's samples from one position to before another."""
        return list(islice(self._from(start), max(stop - start, 0)))

    def _from(self, position: int) -> Iterator[SampleKey]:
        permutation, element = divmod(self.rank + position * self.world_size, self.size)
        for number, order in self._permutations(permutation):
            for index in order[element :: self.world_size]:
                yield number, index
            element = (element - self.size) % self.world_size

    def _permutations(self, first: int) -> Iterator[tuple[int, list[int]]]:
        generator = torch.Generator()
        if self.streams is None:
            generator.manual_seed(self.seed)
            for _ in range(first if self.shuffle else 0):
                torch.randperm(self.size, generator=generator)
        while True:
            if self.streams is not None:
                generator.manual_seed(self.streams.seed("order", first))
            order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
            yield first, order.tolist()
            first += 1

    def __iter__(self) -> Iterator[SampleKey]:
        if self._then is not None:
            self._then()
        samples = -(-self.size // self.world_size) if self.samples is None else self.samples - self.position
        return islice(self._from(self.position), max(samples, 0))

    def __len__(self) -> int:
        return -(-self.size // self.world_size) if self.samples is None else self.samples
