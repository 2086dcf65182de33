"""Networks that draw random numbers in eval mode too: from a seed of the image's own, not from what ran before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from semseg_ref.base.seed_streams import SeedStreams


def draws_at_test(network: nn.Module) -> bool:
    """Whether a network draws random numbers in eval mode; it says so in an attribute `random_at_test`."""
    return bool(getattr(network, "random_at_test", False))


def streams_of_test(seed: int | None) -> SeedStreams:
    """The streams of a test's draws: of the recipe's `experiment.seed`, or of 0 where it has none."""
    return SeedStreams(0 if seed is None else seed)


@contextmanager
def seeded_draws(network: nn.Module, seed: int | None) -> Iterator[None]:
    """Inside the block torch's generators start from `seed`; afterwards they are what they were before.

    Does nothing for a network that does not draw at test, nor without a seed.
    """
    if seed is None or not draws_at_test(network):
        yield
        return
    device = next(network.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
