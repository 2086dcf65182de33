"""Both arms train the same network bit by bit: the Catalyst side adds nothing and leaves nothing out.

On one machine with one thread per process. On GPUs the reference's operators are not deterministic, and parity is
numeric there.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from semseg_ref.base.checkpoints.state_dict import read_checkpoint
from semseg_ref.base.errors import InputError
from semseg_ref.base.iteration_log import read_iteration_log
from semseg_ref.train import main as control_main
from support.command_line import catalyst_dl, child_environment, console_command
from support.runs.forked_processes import finish, forked_processes
from support.runs.toy import (
    SMALL,
    assert_same_checkpoints,
    remove_checkpoints,
    toy_recipe,
    toy_settings,
    train_catalyst,
    train_control,
)

pytestmark = pytest.mark.usefixtures("one_thread_module")
PROCESSES = 2
PSANET = (
    "model._target_=catalyst_cityscapes.models.reference.PSANetLogits", "model.layers=50", "model.classes=19",
    "model.zoom_factor=8", "model.dropout=0.1", "model.pretrained=false", "model.psa_type=2", "model.compact=false",
    "model.shrink_factor=2", "model.mask_h=5", "model.mask_w=5", "model.normalization_factor=1.0",
    "model.psa_softmax=true",
)  # fmt: skip


def assert_parity(catalyst: Path, control: Path, epoch: int = 2) -> None:
    """Fails unless a run folder of each arm holds the same weights, buffers, optimiser state and iterations."""
    name = f"model/train_epoch_{epoch}.pth"
    assert_same_checkpoints(catalyst / name, control / name)
    written = (catalyst / "iterations.csv").read_bytes()
    assert written == (control / "model" / "iterations.csv").read_bytes()
    assert len(written.splitlines()) > 1


@pytest.fixture(scope="module")
def catalyst_run(toy_city, tmp_path_factory):
    """Run folder of a Catalyst training: PSPNet-50, 2 epochs of 2 steps, augmentation and dropout on."""
    folder = tmp_path_factory.mktemp("parity") / "catalyst"
    recipe = toy_recipe(toy_city, f"experiment.logdir={folder}")
    assert recipe.model["dropout"] == 0.1
    assert len(recipe.augmentation["order"]) == 7
    train_catalyst(recipe)
    yield folder
    remove_checkpoints(folder)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_one_process(toy_city, workdir, catalyst_run, workers):
    control = workdir / "control"
    train_control(toy_recipe(toy_city, f"experiment.logdir={control}", f"sampling.workers={workers}"))
    assert_parity(catalyst_run, control)
    records = read_iteration_log(catalyst_run / "iterations.csv")
    assert [r.iteration for r in records] == [0, 1, 2, 3]
    assert len({r.loss for r in records}) == 4


@pytest.mark.slow
def test_a_swapped_component_breaks_parity(toy_city, workdir, catalyst_run):
    """The comparison can fail: one rate of the 2020 Catalyst attempt instead of the heads' ten-fold one."""
    swapped = workdir / "swapped"
    recipe = toy_recipe(toy_city, f"experiment.logdir={swapped}", "optimizer.groups.head_multiplier=1",
                        "callbacks.checkpoint.save_every=2")  # fmt: skip
    train_catalyst(recipe)
    records = [read_iteration_log(folder / "iterations.csv") for folder in (catalyst_run, swapped)]
    assert records[0][0].loss == records[1][0].loss  # the same weights, images, augmentation and dropout
    assert records[0][1].loss != records[1][1].loss
    for name in ("train_epoch_2.pth", "last.pth"):
        with pytest.raises(AssertionError):
            assert_same_checkpoints(catalyst_run / "model" / name, swapped / "model" / name, ("state_dict",))
    with pytest.raises(InputError, match=r"optimizer\.groups\.head_multiplier"):
        train_control(recipe)


@pytest.mark.slow
def test_each_arm_goes_on_where_the_other_stopped(toy_city, workdir, catalyst_run):
    first = catalyst_run / "model" / "train_epoch_1.pth"
    last = catalyst_run / "model" / "train_epoch_2.pth"
    control = train_control(toy_recipe(toy_city, f"experiment.logdir={workdir / 'control'}"), resume=first)
    assert control.name == last.name
    assert_same_checkpoints(last, control)
    official = workdir / "official.pth"
    content = read_checkpoint(first)
    groups = [{k: v for k, v in group.items() if k not in ("name", "lr_multiplier")}
              for group in content["optimizer"]["param_groups"]]  # fmt: skip
    optimizer = {**content["optimizer"], "param_groups": groups}
    torch.save({"epoch": 1, "state_dict": content["state_dict"], "optimizer": optimizer}, official)
    train_catalyst(toy_recipe(toy_city, f"experiment.logdir={workdir / 'catalyst'}"), resume=official)
    assert_same_checkpoints(last, workdir / "catalyst" / "model" / last.name)


@pytest.mark.parametrize("persistent", ["false", "true"])
def test_workers_change_nothing(toy_city, workdir, persistent):
    for workers in (0, 2):
        folder = f"experiment.logdir={workdir / str(workers)}"
        loaders = f"sampling.workers={workers}", f"sampling.persistent_workers={persistent}"
        train_catalyst(toy_recipe(toy_city, *SMALL, folder, *loaders))
    assert_same_checkpoints(*(workdir / name / "model" / "last.pth" for name in ("0", "2")))
    logs = [(workdir / name / "iterations.csv").read_bytes() for name in ("0", "2")]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_psanet(toy_city, workdir):
    settings = (*PSANET, "experiment.epochs=1", "sampling.batch_size=4")
    train_catalyst(toy_recipe(toy_city, *settings, f"experiment.logdir={workdir / 'catalyst'}"))
    train_control(toy_recipe(toy_city, *settings, f"experiment.logdir={workdir / 'control'}"))
    assert_parity(workdir / "catalyst", workdir / "control", epoch=1)


@pytest.mark.slow
def test_official_config(toy_city, workdir, monkeypatch):
    """`python -m semseg_ref.train --config X.yaml` and `catalyst-dl run --config X.yaml`."""
    lists = {f"{split}_list": str(toy_city / "list" / f"fine_{split}.txt") for split in ("train", "val")}
    config = {
        "DATA": {"data_root": str(toy_city), **lists, "classes": 19},
        "TRAIN": {
            "arch": "psp", "layers": 50, "sync_bn": True, "train_h": 33, "train_w": 41, "scale_min": 0.5,
            "scale_max": 1.5, "rotate_min": -5, "rotate_max": 5, "zoom_factor": 4, "ignore_label": 255,
            "aux_weight": 0.3, "train_gpu": [0], "workers": 0, "batch_size": 2, "batch_size_val": 2, "base_lr": 0.02,
            "epochs": 1, "start_epoch": 0, "power": 0.8, "momentum": 0.8, "weight_decay": 0.001, "manual_seed": 7,
            "print_freq": 1, "save_freq": 1, "save_path": "control/model", "weight": None, "resume": None,
            "evaluate": True, "pretrained": False,
        },
        "TEST": {
            "test_list": lists["val_list"], "split": "val", "base_size": 96, "test_h": 33, "test_w": 41,
            "scales": [1.0], "names_path": "data/cityscapes/cityscapes_names.txt",
            "colors_path": "data/cityscapes/cityscapes_colors.txt",
        },
    }  # fmt: skip
    Path("toy.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sys, "argv", ["semseg_ref.train", "--config", "toy.yaml", "batch_size_val", "1"])
    control_main()
    assert catalyst_dl("run", "--config", "toy.yaml", "--set", "batch_size_val=1") == 0
    assert_parity(workdir / "exp" / "toy", workdir / "control", epoch=1)
    rates = read_iteration_log(workdir / "exp" / "toy" / "iterations.csv")
    assert [r.lr_backbone for r in rates] == [0.02, 0.02 * (1 - 1 / 2) ** 0.8]


def run_under_torchrun(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}",
               "--log-dir", str(folder / "torchrun"), "--no-python", console_command(), "run", *arguments]  # fmt: skip
    done = subprocess.run(command, cwd=folder, env=child_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes(toy_city, workdir):
    """Five images on two ranks: each gets three of the padded list, and one step of 2 x 2 images an epoch. The control
    arm is started by torchrun, through the console command."""
    words = {
        arm: ["--config", "toy/pspnet50", *option, "--set",
              *toy_settings(toy_city, f"experiment.logdir={workdir / arm}", "sampling.batch_size=4",
                            "callbacks.checkpoint.save_every=2")]
        for arm, option in (("catalyst", ()), ("control", ("--control",)))
    }  # fmt: skip
    with forked_processes(workdir, ["run", *words["catalyst"]]) as ids:
        statuses, told = finish(workdir, ids)
    assert statuses == [0, 0], told[-3000:]
    run_under_torchrun(workdir, *words["control"])
    assert_parity(workdir / "catalyst", workdir / "control")
    assert len(read_iteration_log(workdir / "catalyst" / "iterations.csv")) == 2


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < PROCESSES, reason="needs two GPUs")
def test_two_gpus_with_synchronised_batch_norm(toy_city, workdir):
    """Numeric: bilinear resizing adds its gradients in any order on a GPU."""
    runs = {"catalyst": (), "control": ("--control",), "unsynchronised": ("--set", "callbacks.sync_bn=null")}
    records = {}
    for name, options in runs.items():
        settings = toy_settings(toy_city, f"experiment.logdir={workdir / name}", "sampling.batch_size=4",
                                "engine.device=cuda", "callbacks.checkpoint.save_every=2")  # fmt: skip
        run_under_torchrun(workdir, "--config", "toy/pspnet50", "--set", *settings, *options)
        folder = workdir / name / "model" if name == "control" else workdir / name
        records[name] = read_iteration_log(folder / "iterations.csv")
    first = {name: run[0].loss for name, run in records.items()}
    assert first["catalyst"] == pytest.approx(first["control"], rel=1e-5)
    assert first["catalyst"] != pytest.approx(first["unsynchronised"], rel=1e-3)
    second = {name: run[1].loss for name, run in records.items()}
    assert second["catalyst"] == pytest.approx(second["control"], rel=1e-2)
    # The batch statistics of both processes' images went into these.
    name = "module.layer0.1.running_mean"
    states = (read_checkpoint(workdir / arm / "model" / "train_epoch_2.pth") for arm in ("catalyst", "control"))
    means = [state["state_dict"][name] for state in states]
    torch.testing.assert_close(*means, rtol=1e-3, atol=1e-4)
