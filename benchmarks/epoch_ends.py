"""What the end of an epoch costs: seconds an epoch with loader processes that start anew, that stay, that read on.

    python benchmarks/epoch_ends.py [--workers 4] [--batches 12] [--sample-ms 20] [--step-ms 25]

Samples and steps only wait, so that the figures are those of a machine with a core for each process. The loader is
faster than the steps, so that an epoch could take `batches` steps.
"""

import argparse
import time

import torch
from torch.utils.data import Dataset

from catalyst_cityscapes.data.loaders import build_loader
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.sampling import EpochSampler, SeededDataset

BATCH, EPOCHS = 4, 4
WAYS = {
    "new processes": {},
    "persistent_workers": {"persistent_workers": True},
    "across_epochs": {"across_epochs": EPOCHS},
}


class Waiting(Dataset):
    """Samples that take a time and no processor."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self.seconds = size, seconds

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(self.seconds)
        return torch.tensor(index)

    def __len__(self) -> int:
        return self.size


def main() -> None:
    """Prints a line for each way: seconds of the first epoch and the mean of the others, and of their steps alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--sample-ms", type=float, default=20)
    parser.add_argument("--step-ms", type=float, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    streams = SeedStreams(0)
    for name, way in WAYS.items():
        dataset = SeededDataset(Waiting(BATCH * options.batches, options.sample_ms / 1000), streams)
        sampler = EpochSampler(len(dataset), streams)
        loader = build_loader(dataset, sampler, BATCH, options.workers, drop_last=True, **way)
        seconds = []
        for epoch in range(EPOCHS):
            sampler.set_epoch(epoch)
            begun = time.perf_counter()
            for _ in loader:
                time.sleep(options.step_ms / 1000)
            seconds.append(time.perf_counter() - begun)
        loader.stop()
        later = sum(seconds[1:]) / (EPOCHS - 1)
        steps = options.batches * options.step_ms / 1000
        print(
            f"{name}: first epoch {seconds[0]:.2f} s, later ones {later:.2f} s, their steps alone {steps:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
