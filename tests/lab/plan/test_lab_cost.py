"""Before a lab runs: what is checked, what it costs, and what is printed of it."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from catalyst_cityscapes.lab.plan.checking import check_plan
from catalyst_cityscapes.lab.plan.cost import (
    RunCost,
    checkpoint_bytes,
    disk_bytes,
    duration,
    measured_seconds,
    remaining_seconds,
    run_cost,
    size,
    write_seconds,
)
from catalyst_cityscapes.lab.plan.plan import run_folder
from catalyst_cityscapes.lab.plan.table import print_plan
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.errors import InputError
from support.runs.labs import BASE, TRUSTED, lab_plan, lab_settings, write_run


@pytest.fixture
def plan(toy_city, workdir):
    """A lab of three arms and two seeds in the working directory."""
    return lab_plan(Path("lab"), toy_city)


# -- what is checked before anything runs ---------------------------------------------------------------------------
def test_a_good_plan_passes_and_leaves_nothing(plan, workdir):
    sizes = check_plan(plan.arms)
    assert set(sizes) == {"base", "control", "head"}
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("arm", "parts"),
    [
        ("data.train_list=no.txt", ("arm x: no.txt: no such list file",)),
        ("engine.precision=fp16", ("arm x: engine.precision: fp16 needs a GPU",)),
        ("sampling.batch_size=9", ("arm x: sampling.batch_size: 9 leaves no full batch of 5 images",)),
        ("callbacks.checkpoint.select=best", ("arm x: ", "select: best needs a metric")),
        ("augmentation.steps.scale.scale=[2,0.5]", ("arm x: augmentation",)),
        ("validation.every=1,validation.images=9", ("arm x: validation.images: 9 images asked for",)),
        (
            "model._target_=catalyst_cityscapes.models.reference.PSPNetLogits,model.classes=19,model.pretrained=no.pth",
            ("arm x: model: ", "no.pth"),
        ),
    ],
)
def test_what_would_fail_later_is_told_first(arm, parts, toy_city, workdir):
    with pytest.raises(InputError) as caught:
        check_plan(lab_plan(Path("lab"), toy_city, [f"x={arm}"]).arms)
    for part in parts:
        assert part in str(caught.value)
    assert list(workdir.iterdir()) == []


def test_missing_test_images_are_told_first(toy_city, workdir):
    Path("val.txt").write_text("no_image.png no_label.png\n")
    with pytest.raises(InputError, match=r"arm base: val.txt, line 1: no such file .*no_image.png"):
        check_plan(lab_plan(Path("lab"), toy_city, ["x="], (0,), "data.val_list=val.txt").arms)


def test_a_lab_is_not_for_torchrun(plan, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun: a lab starts its own runs"):
        check_plan(plan.arms)


# -- cost -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ((), RunCost(steps=2 * 2, images=2 * 4)),
        (("sampling.drop_last=false",), RunCost(2 * 3, 2 * 5)),
        (("callbacks.gradient_step.accumulation_steps=2",), RunCost(2 * 1, 2 * 4)),
        (("sampling.drop_last=false", "callbacks.gradient_step.accumulation_steps=2"), RunCost(2 * 2, 2 * 5)),
        (("experiment.epochs=7",), RunCost(7 * 2, 7 * 4)),
        (("experiment.epochs=null", "experiment.iterations=7"), RunCost(7, 7 * 2)),
        (
            ("experiment.epochs=null", "experiment.iterations=7", "sampling.drop_last=false"),
            RunCost(7, 2 * 5 + 2),
        ),
        (
            ("experiment.epochs=null", "experiment.iterations=7", "sampling.order=endless"),
            RunCost(7, 7 * 2),
        ),
        (
            (
                "experiment.epochs=null",
                "experiment.iterations=7",
                "callbacks.gradient_step.accumulation_steps=2",
                "sampling.order=endless",
            ),
            RunCost(7, 7 * 4),
        ),
    ],
)
def test_steps_and_images_of_five_images_in_batches_of_two(toy_city, settings, cost):
    assert run_cost(load_recipe([BASE], lab_settings(toy_city, *settings), TRUSTED)) == cost


def test_size_of_a_checkpoint_is_weights_buffers_and_momentum():
    network = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.BatchNorm1d(20))
    trained, buffers = 10 * 20 + 20 + 2 * 20, 2 * 20
    assert checkpoint_bytes(network) == 4 * (2 * trained + buffers) + 8


def test_disk_for_running_and_kept_checkpoints(plan):
    sizes = {"base": 10, "control": 10, "head": 100}
    assert disk_bytes(plan, sizes, 1, False) == 3 * 100
    assert disk_bytes(plan, sizes, 3, False) == 3 * (100 + 100 + 10)
    assert disk_bytes(plan, sizes, 1, True) == 3 * 100 + 2 * 2 * (10 + 10 + 100)


def test_remaining_time_is_that_of_measured_runs():
    left = [("a", 1), ("b", 1)]
    assert remaining_seconds(left, {}, 1) is None
    assert remaining_seconds(left, {("a", 0): 10.0, ("b", 0): 30.0}, 1) == 40.0
    assert remaining_seconds(left, {("a", 0): 10.0, ("b", 0): 30.0}, 2) == 30.0
    assert remaining_seconds(left, {("a", 0): 10.0}, 1) == 20.0
    assert remaining_seconds([], {("a", 0): 10.0}, 1) == 0.0


def test_only_runs_in_one_piece_are_measured(plan):
    for seed, resumed in ((0, False), (1, True)):
        folder = run_folder(plan, "head", seed)
        folder.mkdir(parents=True)
        write_seconds(folder, 3.0, 1.5, resumed)
    assert measured_seconds(plan) == {("head", 0): 4.5}


def test_figures_for_people():
    assert [duration(s) for s in (5, 89, 91, 3600, 5400, 200_000)] == [
        "5 s", "89 s", "2 min", "60 min", "1 h 30 min", "2 d 8 h",
    ]  # fmt: skip
    assert [size(n) for n in (5, 4_600, 400_000_000, 12_340_000_000)] == ["5 B", "5 kB", "400 MB", "12.3 GB"]


def test_the_printed_plan_says_what_differs_and_what_it_costs(plan):
    write_run(plan, "base", 0)
    write_seconds(run_folder(plan, "base", 0), 100.0, 20.0, resumed=False)
    todo = [run for run in plan.runs() if run != ("base", 0)]
    console = Console(width=120, record=True, file=io.StringIO())
    print_plan(plan, todo, dict.fromkeys(("base", "control", "head"), 10**15), 1, console=console)
    text = console.export_text()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "identical recipe: a control of the pairing" in lines
    assert "optimizer.groups.head_multiplier: 10 -> 1" in lines
    assert "head: swap/head_lr" in lines
    assert any(line.startswith("│ base │ done │ to do │ 4 │ 8 │ 2 min │") for line in lines), text
    assert "left: 5 of 6 runs, 20 optimiser steps, 40 training images" in lines
    assert "time: about 10 min, 1 at once, from 1 measured" in lines
    assert any("WARNING: not enough" in line for line in lines if line.startswith("disk: ")), text
    assert "threads: 1 for each run; seeds 0, 1, the same in every arm" in lines


def test_many_seeds_are_counted(toy_city, workdir):
    plan = lab_plan(Path("lab"), toy_city, seeds=range(8))
    folder = run_folder(plan, "head", 3) / "model"
    folder.mkdir(parents=True)
    (folder / "last.pth").write_bytes(b"weights")
    console = Console(width=80, record=True, file=io.StringIO())
    print_plan(plan, plan.runs()[3:], dict.fromkeys(("base", "control", "head"), 1), 1, console=console)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "┃ arm ┃ done ┃ begun ┃ to do ┃ steps ┃ images ┃ time ┃" in lines
    assert "│ head │ 1 │ 1 │ 6 │ 4 │ 8 │ - │" in lines
