"""Who sees which sample, in which order, with which draws: seed streams, samplers, the seeded dataset."""

import random
from itertools import chain

import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, DistributedSampler

from catalyst_cityscapes.data.loaders import build_loader
from semseg_ref.base.seed_streams import STREAMS, SeedStreams
from semseg_ref.sampling import EpochSampler, SeededDataset, ShardSampler

CITYSCAPES_TRAIN, GPUS, BATCH_PER_GPU = 2975, 8, 2


# ---------------------------------------------------------------- seed streams


def test_no_two_positions_of_any_streams_share_a_seed():
    streams = SeedStreams(0)
    positions = [(), *((a,) for a in range(30)), *((a, b) for a in range(20) for b in range(40)),
                 *((a, b, c) for a in range(8) for b in range(8) for c in range(8))]  # fmt: skip
    seeds = [streams.seed(stream, *position) for stream in STREAMS for position in positions]
    assert len(set(seeds)) == len(seeds) > 5000


def test_root_seeds_share_nothing():
    positions = [(epoch, index) for epoch in range(20) for index in range(20)]
    per_root = [
        {SeedStreams(root).seed(stream, *position) for stream in STREAMS for position in positions}
        for root in (0, 1, 2, 42, 43, 2**31)
    ]
    assert sum(map(len, per_root)) == len(set().union(*per_root))


def test_seeds_are_a_function_of_their_position_only():
    first, second = SeedStreams(5), SeedStreams(5)
    second.seed("order", 1)
    assert first.seed("augmentation", 3, 4) == second.seed("augmentation", 3, 4)
    assert 0 <= first.seed("init") < 2**64
    # Published runs name their seed: these must never change.
    assert SeedStreams(0).seed("init") == 8668861027912758289
    assert SeedStreams(0).seed("augmentation", 1, 2) == 16988321894045413679


def draws(seeded: str, *position: int) -> list[float]:
    """Eight numbers that follow one position of a stream of root seed 0."""
    streams = SeedStreams(0)
    if seeded == "augmentation":
        streams.seed_augmentation(*position)
        return [random.random() for _ in range(8)]
    if seeded == "dropout":
        streams.seed_dropout(*position)
    else:
        streams.seed_init()
    return torch.rand(8, dtype=torch.float64).tolist()


def test_neighbours_draw_different_numbers():
    samples = [draws("augmentation", epoch, index) for epoch in range(4) for index in range(4)]
    masks = [draws("dropout", epoch, i, rank) for epoch in range(3) for i in range(3) for rank in range(3)]
    everything = list(chain(*samples, *masks, draws("init")))
    assert len(set(everything)) == len(everything)
    assert draws("augmentation", 1, 2) == samples[4 + 2]
    assert draws("dropout", 2, 1, 0) == masks[2 * 9 + 3]


# ---------------------------------------------------------------- training order


def order(sampler: EpochSampler, epoch: int = 0) -> list[int]:
    """The indices of one epoch; checks that the epoch travels with each."""
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert {key[0] for key in keys} == {epoch}
    return [index for _, index in keys]


def test_cityscapes_on_eight_gpus():
    samplers = [EpochSampler(CITYSCAPES_TRAIN, SeedStreams(0), rank, GPUS) for rank in range(GPUS)]
    per_rank = [order(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(indices) for indices in per_rank] == [372] * GPUS
    batches = [len(BatchSampler(sampler, BATCH_PER_GPU, drop_last=True)) for sampler in samplers]
    assert batches == [186] * GPUS
    assert 186 * 200 == 37200
    counts = torch.bincount(torch.tensor(list(chain(*per_rank))), minlength=CITYSCAPES_TRAIN)
    assert counts.min() == 1
    assert counts.max() == 2
    assert int(counts.sum()) == CITYSCAPES_TRAIN + 1


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_the_ranks_deal_out_the_order_of_one_process(world_size):
    size = 29
    whole = order(EpochSampler(size, SeedStreams(3)), epoch=4)
    assert sorted(whole) == list(range(size))
    assert whole != list(range(size))
    per_rank = [order(EpochSampler(size, SeedStreams(3), rank, world_size), epoch=4) for rank in range(world_size)]
    dealt = list(chain(*zip(*per_rank, strict=True)))
    assert dealt[:size] == whole
    assert dealt[size:] == whole[: len(dealt) - size]


def test_more_ranks_than_samples_repeat_the_list():
    per_rank = [order(EpochSampler(3, SeedStreams(0), rank, 8)) for rank in range(8)]
    assert [len(indices) for indices in per_rank] == [1] * 8
    assert set(chain(*per_rank)) == {0, 1, 2}


def test_epoch_and_seed_change_the_order():
    sampler = EpochSampler(50, SeedStreams(0))
    first, second = order(sampler, 0), order(sampler, 1)
    assert first != second
    assert first == order(EpochSampler(50, SeedStreams(0)), 0)
    assert first != order(EpochSampler(50, SeedStreams(1)), 0)
    assert order(EpochSampler(50, SeedStreams(0), shuffle=False), 3) == list(range(50))


@pytest.mark.parametrize("epoch", [0, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_without_streams_the_order_is_distributed_samplers(epoch, shuffle):
    for rank in range(4):
        reference = DistributedSampler(range(50), 4, rank, shuffle=shuffle, seed=0)
        reference.set_epoch(epoch)
        assert order(EpochSampler(50, None, rank, 4, shuffle), epoch) == list(reference)


def test_without_streams_one_process_draws_from_torchs_generator():
    torch.manual_seed(11)
    expected = torch.randperm(20).tolist()
    torch.manual_seed(11)
    assert order(EpochSampler(20, None)) == expected


# ---------------------------------------------------------------- validation order


@pytest.mark.parametrize("size", [0, 1, 5, 16])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_validation_counts_every_image_once(size, world_size):
    shards = [ShardSampler(size, rank, world_size) for rank in range(world_size)]
    assert sorted(chain(*shards)) == list(range(size))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


# ---------------------------------------------------------------- draws of each sample


class Draws(Dataset):
    """Gives what a transform would draw: (index, two numbers of python's `random`)."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, random.random(), random.random()], dtype=torch.float64)

    def __len__(self) -> int:
        return 7


def epochs(workers: int, replay: bool = False, persistent: bool = False, seed: int = 1) -> list[torch.Tensor]:
    """Two epochs of draws, sorted by index."""
    streams = SeedStreams(seed)
    sampler = EpochSampler(len(Draws()), streams)
    dataset = SeededDataset(Draws(), streams, replay)
    loader = build_loader(dataset, sampler, 2, workers, drop_last=False, persistent_workers=persistent)
    tables = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        table = torch.cat(list(loader))
        tables.append(table[table[:, 0].argsort()])
    return tables


@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, False), (2, True)])
def test_workers_change_no_draw(workers, persistent):
    for one, other in zip(epochs(0), epochs(workers, persistent=persistent), strict=True):
        assert one.tolist() == other.tolist()


def batches_of(loader, epochs, start=0):
    """The samples of each epoch, batch by batch; the first begins at a position."""
    found = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        if epoch == epochs[0]:
            loader.sampler.start_at(start)
        found.append([batch.tolist() for batch in loader])
        assert loader.sampler.order == order(EpochSampler(len(Draws()), SeedStreams(1)), epoch)
    return found


def loader_of(workers, across_epochs=None):
    streams = SeedStreams(1)
    dataset = SeededDataset(Draws(), streams)
    sampler = EpochSampler(len(Draws()), streams)
    return build_loader(dataset, sampler, 2, workers, drop_last=True, across_epochs=across_epochs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_across_epochs_gives_the_same_batches(workers):
    plain, ours = loader_of(0), loader_of(workers, across_epochs=5)
    assert len(ours) == len(plain) == 3
    assert batches_of(ours, [0, 1, 2]) == batches_of(plain, [0, 1, 2])
    reader = ours._reader
    assert batches_of(ours, [3]) == batches_of(plain, [3])
    assert ours._reader is reader  # it went on
    assert batches_of(ours, [2, 4], start=2) == batches_of(plain, [2, 4], start=2)  # an epoch that is not the next one
    assert ours._reader is None  # all epochs are over
    ours.sampler.set_epoch(1)
    broken_off = next(iter(ours)).tolist()
    assert broken_off == batches_of(plain, [1])[0][0]
    assert batches_of(ours, [2]) == batches_of(plain, [2])
    ours.stop()


def test_a_loader_across_epochs_reads_ahead_and_no_further_than_the_last():
    ours, positions = loader_of(2, across_epochs=2), []
    original = SeedStreams.seed

    def noting(self, stream, *position):
        positions.append((stream, *position))
        return original(self, stream, *position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeedStreams, "seed", noting)
        first = [batch.tolist() for batch in ours]
        assert ("order", 1) in positions  # drawn before the epoch is begun
        assert len(first) == 3
        ours.sampler.set_epoch(1)
        assert len(list(ours)) == 3
    assert not [position for position in positions if position[:2] == ("order", 2)]


def test_epochs_samples_and_seeds_draw_anew():
    first, second = epochs(0)
    drawn = torch.cat([first[:, 1:], second[:, 1:], epochs(0, seed=2)[0][:, 1:]])
    assert drawn.unique().numel() == drawn.numel()


def test_replay_repeats_the_draws_of_every_sample():
    first, second = epochs(0, replay=True)
    assert first.tolist() == second.tolist() == epochs(0)[0].tolist()
    assert first[:, 1:].unique().numel() == first[:, 1:].numel()


def test_without_streams_random_is_left_alone():
    dataset = SeededDataset(Draws(), None)
    random.seed(9)
    expected = [random.random() for _ in range(4)]
    random.seed(9)
    assert dataset[(3, 0)][1:].tolist() + dataset[5][1:].tolist() == expected
    assert len(dataset) == len(Draws())
