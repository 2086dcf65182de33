"""An endless order: mmengine's index streams, and what makes it an order at all."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from catalyst_cityscapes.data.endless import EndlessSampler
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.train.loaders import build_loaders
from semseg_ref.base.seed_streams import SeedStreams
from support.places import GOLDENS
from support.runs.toy import SMALL, TOY

ROWS = json.loads((GOLDENS / "mmseg" / "sampler.json").read_text())["rows"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['size']} in {row['world']}, seed {row['seed']}")
def test_the_index_streams_are_those_of_mmengine(row):
    size, world = row["size"], row["world"]
    for rank, first in row["first"].items():
        sampler = EndlessSampler(size, None, row["seed"], int(rank), world)
        stop = size // world + 6
        around = row["around_wrap"][rank]
        assert [index for _, index in sampler.keys(0, len(first))] == first
        assert [index for _, index in sampler.keys(stop - len(around), stop)] == around


@pytest.mark.parametrize("streams", [None, SeedStreams(3)])
@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_every_permutation_has_each_image_once_over_all_ranks(streams, world):
    """Also with more processes than images."""
    size, each = 7, 20
    samplers = [EndlessSampler(size, streams, 5, rank, world, samples=each) for rank in range(world)]
    parts = [list(sampler) for sampler in samplers]
    stream = [parts[i % world][i // world] for i in range(each * world)]
    for number in range(len(stream) // size):
        permutation = stream[number * size : (number + 1) * size]
        assert sorted(index for _, index in permutation) == list(range(size))
        assert {epoch for epoch, _ in permutation} == {number}
    orders = [tuple(index for _, index in stream[i : i + size]) for i in range(0, 2 * size, size)]
    assert all(left != right for left, right in pairwise(orders))
    for sampler, part in zip(samplers, parts, strict=True):
        assert [sampler.permutation_of(i) for i in range(each)] == [epoch for epoch, _ in part]
        sampler.start_at(11)
        assert list(sampler) == part[11:]
        sampler.set_epoch(2)
        assert list(sampler) == [key for key in part if key[0] >= 2]
    assert len(samplers[0]) == each


def test_named_permutations_follow_from_their_number():
    first, other = (EndlessSampler(50, SeedStreams(seed), 0) for seed in (1, 2))
    assert first.keys(0, 200) == first.keys(0, 120) + first.keys(120, 200)
    assert first.keys(0, 50) != other.keys(0, 50)
    first.set_epoch(3)
    assert list(first) == first.keys(150, 200)


def test_an_order_that_is_not_shuffled_repeats_the_list():
    sampler = EndlessSampler(3, None, 0, rank=1, world_size=2, shuffle=False)
    assert sampler.keys(0, 4) == [(0, 1), (1, 0), (1, 2), (2, 1)]


def test_loader_processes_draw_as_mmengines(toy_city):
    """Process w of rank r seeds numpy's generator once, with workers * r + w + seed, and makes every other batch."""
    settings = [f"data.root={toy_city}", *TOY, *SMALL, "experiment.epochs=null", "experiment.iterations=4"]
    settings += ["experiment.seed=7", "sampling.seed_stream=reference", "sampling.order=endless"]
    settings += ["sampling.batch_size=4", "sampling.workers=4"]  # of two processes together
    recipe = load_recipe(["toy/pspnet50", "swap/augmentation/mmseg"], settings, ("support",))
    loader = build_loaders(recipe, rank=1, world=2)[0]["train"]
    batches = list(loader)
    assert len(batches) == 4
    order = [index for _, index in loader.sampler.keys(0, 8)]
    for worker in range(2):
        np.random.seed(2 * 1 + worker + 7)
        for number in range(worker, 4, 2):
            pairs = [loader.dataset.dataset[index] for index in order[2 * number : 2 * number + 2]]
            for found, expected in zip(batches[number], zip(*pairs, strict=True), strict=True):
                assert torch.equal(found, torch.stack(expected))
