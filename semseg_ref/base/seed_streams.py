"""Named random streams from one root seed, shared by both arms.

The reference seeds only its parent process, so its multi-GPU runs are not seeded at all; Catalyst seeds with `seed
+ rank + epoch`, which makes neighbouring seeds, ranks and epochs repeat each other. Here every random decision is
a pure function of (root seed, stream name, position), through `numpy.random.SeedSequence`: two arms share all the
randomness that they have in common, nothing depends on the number of workers, and a resumed run needs no saved
generator state.
"""

import random

import numpy as np
import torch

from semseg_ref.base.errors import OptionError

STREAMS = ("init", "order", "augmentation", "dropout", "test")


class SeedStreams:
    """Independent integer seeds for each of `STREAMS`.

    Args:
        seed: root seed, >= 0.

    Raises:
        OptionError: another value.
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise OptionError(f"seed {seed!r}: expected a whole number >= 0, or none")
        self.root = int(seed)

    def seed(self, stream: str, *position: int) -> int:
        """64-bit seed of `stream` at `position`, e.g. `seed("augmentation", epoch, index)`."""
        return self._words(1, stream, *position)[0]

    def _words(self, count: int, stream: str, *position: int) -> list[int]:
        sequence = np.random.SeedSequence(self.root, spawn_key=(STREAMS.index(stream), *position))
        return sequence.generate_state(count, np.uint64).tolist()

    def seed_init(self) -> None:
        """Seeds the weights' initialisation: the same on every rank."""
        torch.manual_seed(self.seed("init"))

    def seed_augmentation(self, epoch: int, index: int) -> None:
        """Seeds the generators from which transforms draw, for one sample of one epoch.

        They are python's `random` (the reference's transforms), numpy's legacy global one (mmsegmentation's) and
        torch's on the CPU (torchvision's); CUDA's are left alone. Each has a seed of its own: python and numpy run the
        same algorithm, so that one seed would give both the same numbers.
        """
        python, for_numpy, for_torch = self._words(3, "augmentation", epoch, index)
        random.seed(python)
        np.random.seed([for_numpy & 0xFFFFFFFF, for_numpy >> 32])
        torch.default_generator.manual_seed(for_torch)

    def seed_dropout(self, epoch: int, iteration: int, rank: int) -> None:
        """Seeds torch's generators for one training step of one rank (epoch and iteration count from 0)."""
        torch.manual_seed(self.seed("dropout", epoch, iteration, rank))
