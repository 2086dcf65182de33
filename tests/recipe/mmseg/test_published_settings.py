"""The recipes of configs/mmseg hold what mmsegmentation's own configurations hold, key by key."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.models.mmseg import build as build_network
from catalyst_cityscapes.optim.from_recipe import recipe_groups
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.nodes.targets import build
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.schedules.phases import rate_at
from support.golden.inputs import load_golden

RECIPES = {
    "pspnet_r50": "mmseg/pspnet_r50_769",
    "deeplabv3plus_r50": "mmseg/deeplabv3plus_r50_769",
    "hrnet_w48": "mmseg/hrnet_w48_512x1024",
    "ocrnet_w48": "mmseg/ocrnet_w48_512x1024",
    "segformer_b3": "mmseg/segformer_b3_1024",
    "segnext_b": "mmseg/segnext_b_512x1024",
}
"""mmsegmentation's configurations in the golden files, and the recipes that are to equal them."""
PUBLISHED = {
    "pspnet_r50_769": 0.7959,
    "pspnet_r50_512x1024": 0.7855,
    "deeplabv3plus_r50_769": 0.7983,
    "deeplabv3plus_r50_512x1024": 0.8009,
    "hrnet_w48_512x1024": 0.8065,
    "ocrnet_w48_512x1024": 0.8135,
    "segformer_b3_1024": 0.8194,
    "segnext_b_512x1024": None,
}
OF_ADE20K = {
    "model.data_preprocessor.size",
    "train_dataloader.dataset.pipeline[2].scale",
    "train_dataloader.dataset.pipeline[3].crop_size",
    "val_dataloader.dataset.pipeline[1].scale",
    "model.decode_head.num_classes",
}
"""What SegNeXt's recipe, which is published for ADE20K alone, has otherwise here: the images' and the classes'."""
INITIAL = {"open-mmlab://resnet50_v1c": "resnet50_v1c", "open-mmlab://msra/hrnetv2_w48": "hrnetv2_w48"}
SINGLE = "model.decode_head"


@cache
def loaded(*layers: str) -> Recipe:
    """A recipe of shipped files; never changed here, so that each is read once."""
    return load_recipe(layers)


def network_of(recipe: Recipe) -> nn.Module:
    """The recipe's network without values."""
    arguments = {key: value for key, value in recipe.model.items() if key not in ("_target_", "pretrained")}
    with torch.device("meta"):
        return build_network(**arguments)


def heads(network: nn.Module, weight: float) -> Iterator[tuple[str, nn.Module, float]]:
    """mmsegmentation's key of each head, the head, the weight of its loss."""
    if isinstance(network.decode_head, nn.ModuleList):
        yield "model.decode_head[0]", network.decode_head[0], weight
        yield "model.decode_head[1]", network.decode_head[1], 1.0
        return
    yield SINGLE, network.decode_head, 1.0
    if hasattr(network, "auxiliary_head"):
        yield "model.auxiliary_head", network.auxiliary_head, weight


def settings(recipe: Recipe, processes: int) -> dict[str, Any]:
    """A recipe in mmsegmentation's keys; workers and images a step of each process."""
    steps, protocol, network = recipe.augmentation["steps"], recipe.protocol, network_of(recipe)
    found = {
        "model.data_preprocessor.mean": steps["normalize"]["mean"],
        "model.data_preprocessor.std": steps["normalize"]["std"],
        "model.data_preprocessor.size": steps["normalize"]["size"],
        "model.data_preprocessor.seg_pad_val": steps["normalize"]["ignore_index"],
        "train_dataloader.batch_size": recipe.sampling.batch_size // processes,
        "train_dataloader.num_workers": recipe.sampling.workers // processes,
        "train_dataloader.sampler.type": {"endless": "InfiniteSampler"}[recipe.sampling.order],
        "train_dataloader.sampler.shuffle": recipe.sampling.shuffle,
        "train_dataloader.dataset.pipeline[2].scale": steps["scale"]["scale"],
        "train_dataloader.dataset.pipeline[2].ratio_range": steps["scale"]["ratio_range"],
        "train_dataloader.dataset.pipeline[3].crop_size": steps["crop"]["crop_size"],
        "train_dataloader.dataset.pipeline[3].cat_max_ratio": steps["crop"]["cat_max_ratio"],
        "train_dataloader.dataset.pipeline[4].prob": steps["flip"]["prob"],
        "val_dataloader.batch_size": recipe.validation.batch_size,
        "val_dataloader.dataset.pipeline[1].scale": list(protocol.base_size),
        "train_cfg.max_iters": recipe.experiment.iterations,
        "train_cfg.val_interval": recipe.validation.every,
        "default_hooks.checkpoint.interval": recipe.callbacks["checkpoint"]["save_every"],
        "optim_wrapper.optimizer.type": recipe.optimizer["_target_"].removeprefix("torch.optim."),
        **{
            f"optim_wrapper.optimizer.{key}": recipe.optimizer[key]
            for key in ("lr", "weight_decay", "momentum", "betas")
            if key in recipe.optimizer
        },
        "model.test_cfg.mode": protocol.name.removeprefix("mmseg-"),
    }
    if protocol.name == "mmseg-slide":
        found |= {"model.test_cfg.crop_size": list(protocol.crop), "model.test_cfg.stride": list(protocol.stride)}
    if protocol.pad_to != "none":
        found["model.data_preprocessor.test_cfg.size_divisor"] = protocol.pad_to
    for key, head, weight in heads(network, recipe.callbacks["aux_loss"]["weight"]):
        found[f"{key}.align_corners"] = head.align_corners
        found[f"{key}.num_classes"] = head.conv_seg.out_channels
        found[f"{key}.dropout_ratio"] = next((m.p for m in head.modules() if isinstance(m, nn.Dropout2d)), -1)
        found[f"{key}.loss_decode.loss_weight"] = weight
    for key, multipliers in recipe.optimizer["groups"]["rules"].items():
        found |= {f"optim_wrapper.paramwise_cfg.custom_keys.{key}.{name}": x for name, x in multipliers.items()}
    begin = 0
    for index, phase in enumerate(recipe.callbacks["lr_schedule"]["phases"]):
        end = begin + phase["iterations"] if "iterations" in phase else recipe.experiment.iterations
        found |= {f"param_scheduler[{index}].begin": begin, f"param_scheduler[{index}].end": end}
        for ours, theirs in (("factor", "start_factor"), ("power", "power"), ("floor", "eta_min")):
            if ours in phase:
                found[f"param_scheduler[{index}].{theirs}"] = phase[ours]
        begin = end
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_is_the_published_configuration_s(name):
    golden, recipe = load_golden("mmseg/recipes.json")[name], loaded(RECIPES[name])
    config = load_golden(f"mmseg/groups_{name}.json")["config"]
    processes, images = map(int, re.search(r"_(\d+)xb(\d+)-", config).groups())
    assert recipe.sampling.batch_size == processes * images

    ours = settings(recipe, processes)
    assert len(ours) >= 31
    differing = {key for key, value in ours.items() if golden[key] != value}
    assert differing == (OF_ADE20K if name == "segnext_b" else set())
    unsaid = {key for key in golden if key.startswith(("optim_wrapper.paramwise", "model.test_cfg"))} - set(ours)
    assert not unsaid
    assert (recipe.validation.protocol, recipe.callbacks["checkpoint"]["keep"]) == ("test", 10)
    assert (recipe.callbacks["sync_bn"] is not None) == (golden.get("model.backbone.norm_cfg.type") != "BN")


@pytest.mark.parametrize("name", RECIPES)
def test_backbones_start_from_the_published_files(name):
    golden, recipe = load_golden("mmseg/recipes.json")[name], loaded(RECIPES[name])
    file = golden.get("model.backbone.init_cfg.checkpoint") or INITIAL[golden["model.pretrained"]]
    assert recipe.model["pretrained"].startswith(f"initmodel/{file}")


@pytest.mark.parametrize("name", RECIPES)
def test_groups_rates_and_decays_of_every_parameter(name):
    golden, recipe = load_golden(f"mmseg/groups_{name}.json"), loaded(RECIPES[name])
    network = network_of(recipe)
    node, groups = recipe_groups(recipe.optimizer, network)
    assert len(groups) == golden["n_groups"]
    assert sum(len(group["params"]) for group in groups) == golden["n_params"]
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    if golden["rows"] is not None:
        rows = [[names[id(g["params"][0])], i, g["lr"], g["weight_decay"]] for i, g in enumerate(groups)]
        assert rows == golden["rows"]
    else:
        assert list(names) == [id(parameter) for parameter in groups[0]["params"]]
    counts: dict[str, int] = {}
    for group in groups:
        row = f"lr={group['lr']} wd={group['weight_decay']}"
        counts[row] = counts.get(row, 0) + len(group["params"])
    assert counts == golden["summary"]
    defaults = build(node, "optimizer", params=groups).defaults
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in defaults.items()} == golden["defaults"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_expected_number_is_that_of_this_configuration(name):
    recipe = loaded(f"mmseg/{name}")
    assert (recipe.expected and recipe.expected.miou) == PUBLISHED[name]
    assert PUBLISHED[name] is None or recipe.expected.protocol == recipe.protocol.name
    assert recipe.criterion["average"] == "all"


@pytest.mark.parametrize("network", ["pspnet_r50", "deeplabv3plus_r50"])
def test_the_twins_differ_in_crop_and_test_only(network):
    one, two = (loaded(f"mmseg/{network}_{crop}").plain() for crop in ("769", "512x1024"))
    assert {key for key in one if one[key] != two[key]} == {
        *("experiment", "data", "augmentation", "model", "protocol", "expected")
    }
    assert {key for key in one["model"] if one["model"][key] != two["model"][key]} == {"align_corners"}


@pytest.mark.parametrize(
    ("name", "overlay", "published"),
    [
        ("pspnet_r50_769", "schedule_0x", lambda t: 1e-4 + (0.01 - 1e-4) * (1 - t / 80000) ** 0.9),
        (
            "segformer_b3_1024",
            "schedule_0x_adamw",
            lambda t: 6e-5 * (1 - t / 160000) * (1 - (1 - min(t / 1500, 1)) * (1 - 1e-6)),
        ),
    ],
)
def test_rates_of_the_framework_s_earlier_versions(name, overlay, published):
    recipe = load_recipe([f"mmseg/{name}", f"swap/mmseg/{overlay}"])
    phases = build(recipe.callbacks["lr_schedule"], "callbacks.lr_schedule").phases
    total = recipe.experiment.iterations
    for step in (0, 1, 700, 1499, 1500, 1501, total // 2, total - 1):
        rate = rate_at(phases, recipe.optimizer["lr"], step, total, steps_per_epoch=1)
        assert rate == pytest.approx(published(step), rel=1e-9)


def test_the_replication_is_the_sum_of_its_overlays():
    published = loaded("mmseg/pspnet_r50_769")
    replication = loaded("mmseg/pspnet_r50_769", "swap/mmseg/replication")
    assert (replication.data.crop, replication.sampling.batch_size) == ((512, 512), 2)
    assert (replication.protocol.name, replication.protocol.crop) == ("mmseg-whole", "image")
    assert replication.callbacks["sync_bn"] is None
    assert replication.optimizer == published.optimizer
    assert replication.experiment.iterations == published.experiment.iterations
    assert network_of(replication).align_corners is False


def test_a_fixed_resize_leaves_nothing_to_cut():
    recipe = load_recipe(["mmseg/toy/pspnet_r18", "swap/mmseg/toy/fixed_resize"], ["augmentation.steps.flip.prob=0"])
    pipeline = build(recipe.augmentation, "augmentation")
    label = np.kron(np.arange(8, dtype=np.uint8).reshape(2, 4), np.ones((64, 64), np.uint8))
    _, cut = pipeline(np.zeros((*label.shape, 3), np.float32), label)
    assert torch.equal(cut, torch.from_numpy(label[::2, ::4]).long())
