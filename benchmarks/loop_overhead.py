"""What Catalyst's loop costs over the control loop: same network, same batches, one process, in turns.

    .venv/bin/python benchmarks/loop_overhead.py [--crop 97] [--batch 2] [--steps 5] [--turns 12] [--layers 50]

Each turn trains `steps` steps with the Catalyst runner (losses, mIoU, iteration log, progress lines and TensorBoard
on) and the same with the control arm's `train_epoch` (losses, areas, iteration log). The order alternates from turn to
turn. Data is in memory, so that only the loops differ. Prints the ratio of the median times with an interval from
resampling the turns, of the processor times, and of the fastest turns, and appends a row to
benchmarks/results/loop_overhead_<machine>.csv.
"""

import csv
import platform
import re
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.runner import SegmentationRunner
from semseg_ref.loop import train_epoch
from semseg_ref.model.build import build_network
from semseg_ref.optimizer import sgd
from semseg_ref.sampling import EpochSampler
from semseg_ref.train_log import IterationLog

RESULTS = Path(__file__).parent / "results"


class InMemory(Dataset):
    """Random crops and labels, made once. Item: float32 [3, crop, crop], int64 [crop, crop]."""

    def __init__(self, size: int, crop: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(size, 3, crop, crop, generator=generator)
        self.labels = torch.randint(0, classes, (size, crop, crop), generator=generator)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[key[1]], self.labels[key[1]]

    def __len__(self) -> int:
        return len(self.images)


class InTurns(SegmentationRunner):
    """Runs one epoch of the control arm beside each of its own, and keeps both times in seconds."""

    def prepare_control(self, dataset: Dataset, folder: Path) -> None:
        self.dataset = dataset
        self.cfg = recipe_to_official(self.recipe)
        self.record = IterationLog(folder / "control.csv")
        self.seconds = {"catalyst": [], "control": []}
        self.cpu_seconds = {"catalyst": [], "control": []}

    def get_loaders(self) -> "OrderedDict[str, DataLoader]":
        return OrderedDict(train=self._loader())

    def _loader(self) -> DataLoader:
        sampler = EpochSampler(len(self.dataset), self.streams)
        return DataLoader(self.dataset, self.recipe.sampling.batch_size, sampler=sampler, drop_last=True)

    def _time(self, arm: str, run) -> None:
        self._synchronise()
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        self._synchronise()
        self.seconds[arm].append(time.perf_counter() - start)
        self.cpu_seconds[arm].append(time.process_time() - cpu_start)

    def _synchronise(self) -> None:
        if self.engine.device.type == "cuda":
            torch.cuda.synchronize()

    def _run_epoch(self) -> None:
        arms = [("catalyst", super()._run_epoch), ("control", self._control_epoch)]
        for arm, run in arms if self.epoch_step % 2 else arms[::-1]:
            self._time(arm, run)

    def _control_epoch(self) -> None:
        if self.epoch_step == 1:
            network = build_network(self.cfg, nn.CrossEntropyLoss(ignore_index=255), pretrained=False)
            self.control = network.to(self.engine.device)
            self.control_optimizer = sgd(self.control, self.cfg.base_lr, self.cfg.momentum, self.cfg.weight_decay)
            self.control_loader = self._loader()
        train_epoch(
            self.control_loader,
            self.control,
            self.control_optimizer,
            self.epoch_step - 1,
            self.cfg,
            device=self.engine.device,
            streams=self.streams,
            log=print,
            record=lambda r: self.record.write([r]),
        )


@click.command()
@click.option("--crop", default=97, show_default=True)
@click.option("--batch", default=2, show_default=True)
@click.option("--steps", default=5, show_default=True, help="Steps per turn.")
@click.option("--turns", default=12, show_default=True, help="Turns after one that warms up.")
@click.option("--layers", default=50, show_default=True)
def main(crop: int, batch: int, steps: int, turns: int, layers: int) -> None:
    """Times both loops in turns."""
    with tempfile.TemporaryDirectory() as name:
        settings = [
            f"data.crop=[{crop},{crop}]",
            f"sampling.batch_size={batch}",
            "sampling.workers=0",
            f"model.layers={layers}",
            f"experiment.epochs={turns + 1}",
            f"experiment.logdir={name}",
            "callbacks.checkpoint.save_every=1000000",
        ]
        runner = InTurns(load_recipe(["toy/pspnet50"], settings))
        runner.prepare_control(InMemory(batch * steps, crop, 19), Path(name))
        runner.run()
        device = torch.cuda.get_device_name() if runner.engine.device.type == "cuda" else "cpu"
    times = {arm: np.array(values[1:]) / steps for arm, values in runner.seconds.items()}
    ratio = float(np.median(times["catalyst"]) / np.median(times["control"]))
    rng = np.random.default_rng(0)
    picks = rng.integers(0, turns, (2000, turns))
    ratios = np.median(times["catalyst"][picks], 1) / np.median(times["control"][picks], 1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    cpu = {arm: float(np.median(values[1:])) for arm, values in runner.cpu_seconds.items()}
    cpu_ratio = cpu["catalyst"] / cpu["control"]
    # The fastest turn of each arm is the one that other programs on the machine disturbed least.
    fastest_ratio = float(times["catalyst"].min() / times["control"].min())
    row = {
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "layers": layers,
        "crop": crop,
        "batch": batch,
        "steps": steps,
        "turns": turns,
        "catalyst_s_per_step": round(float(np.median(times["catalyst"])), 5),
        "control_s_per_step": round(float(np.median(times["control"])), 5),
        "ratio": round(ratio, 4),
        "ratio_low": round(float(low), 4),
        "ratio_high": round(float(high), 4),
        "cpu_time_ratio": round(cpu_ratio, 4),
        "fastest_ratio": round(fastest_ratio, 4),
    }
    RESULTS.mkdir(exist_ok=True)
    machine = re.sub(r"\W+", "-", f"{platform.machine()}-{device}").lower()
    path = RESULTS / f"loop_overhead_{machine}.csv"
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(f"processor time: ratio {cpu_ratio:.4f}; fastest turns: ratio {fastest_ratio:.4f}")
    print(f"catalyst {row['catalyst_s_per_step']:.4f} s/step, control {row['control_s_per_step']:.4f} s/step")
    print(
        f"ratio {ratio:.4f}, 95 % of resampled turns {low:.4f} to {high:.4f} ({turns} turns of {steps} steps); {path}"
    )


if __name__ == "__main__":
    main()
