"""A training step: what Catalyst's loop costs over the control loop, the engine's faster ways, and the card's limit.

Batches live on the device, so that only the steps differ: neither making a batch nor copying it is timed, and nothing
at the ends of an epoch. Each repeat trains some steps with the Catalyst runner (losses,
mIoU, iteration log, progress lines and TensorBoard on) and as many with the control arm's `train_epoch` (losses, areas,
iteration log).
"""

import contextlib
import io
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from catalyst_cityscapes.bench import STEP_ARMS
from catalyst_cityscapes.bench.repeats import Comparison, Row, timed
from catalyst_cityscapes.callbacks.mean_iou import count_confusion
from catalyst_cityscapes.data.loaders import Loader
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.train.engine import close_processes, cpu_has_bf16
from catalyst_cityscapes.train.runner import SegmentationRunner
from semseg_ref.base.console import warn
from semseg_ref.base.iteration_log import IterationLog
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.loop import train_epoch
from semseg_ref.model.build import build_network
from semseg_ref.optimizer import sgd
from semseg_ref.sampling import EpochSampler

CLASSES = 19


def arms_of_this_machine() -> Mapping[str, tuple[str, ...]]:
    """`STEP_ARMS` without bf16 where neither a GPU nor the processor has it; says so."""
    if torch.cuda.is_available() or cpu_has_bf16():
        return STEP_ARMS
    warn("the bf16 arms are left out: this processor has neither AVX512-BF16 nor AMX")
    return {name: settings for name, settings in STEP_ARMS.items() if "engine.precision=bf16" not in settings}


@dataclass(frozen=True)
class Size:
    """What is trained: PSPNet of `layers` on `batch` crops of `crop` pixels, `steps` steps a repeat."""

    layers: int = 50
    crop: int = 97
    batch: int = 4
    steps: int = 3

    def settings(self, folder: Path, repeats: int) -> list[str]:
        """`--set` values of such a training."""
        return [
            f"data.crop=[{self.crop},{self.crop}]",
            f"sampling.batch_size={self.batch}",
            "sampling.workers=0",
            f"model.layers={self.layers}",
            f"experiment.epochs={repeats + 1}",
            f"experiment.logdir={folder}",
            "callbacks.checkpoint.save_every=1000000",
        ]


class Resident(Loader):
    """Random batches that live on the device, the same in each epoch: float32 [N, 3, H, W], int64 [N, H, W].

    Labels are patches of 8 x 8 pixels, since a label's neighbours are mostly of its class, which counting them feels.

    Args:
        size: of the training.
        device: where the batches are.
        streams: of the order, which is drawn and not followed.
    """

    def __init__(self, size: Size, device: torch.device, streams: SeedStreams | None) -> None:
        n, c, count = size.batch, size.crop, size.batch * size.steps
        sampler = EpochSampler(count, streams)
        super().__init__(TensorDataset(torch.empty(count)), n, sampler=sampler, drop_last=True)
        generator = torch.Generator().manual_seed(0)
        self.batches = []
        for _ in range(size.steps):
            coarse = torch.randint(0, CLASSES, (n, c // 8 + 1, c // 8 + 1), generator=generator)
            labels = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :c, :c].contiguous()
            images = torch.randn(n, 3, c, c, generator=generator)
            self.batches.append([images.to(device), labels.to(device)])

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        iter(self.sampler)  # sets its order, from which a batch's samples are told
        return iter(self.batches)


class InTurns(SegmentationRunner):
    """Runs one epoch of the control arm beside each of its own and keeps the seconds of both.

    Args:
        recipe: of the Catalyst arm.
        control: the recipe that the control arm trains.
        size: of both.
        folder: for the control arm's log.
        torch_defaults: the control arm may use TF32 in convolutions and any of cuDNN's algorithms, as torch does unless
            it is told not to.
    """

    def __init__(self, recipe: Recipe, control: Recipe, size: Size, folder: Path, torch_defaults: bool) -> None:
        super().__init__(recipe)
        self.size, self.torch_defaults = size, torch_defaults
        self.cfg = recipe_to_official(control)
        self.record = IterationLog(folder / "control.csv")
        self.seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "control": []}

    def get_loaders(self) -> "OrderedDict[str, DataLoader]":
        """The batches on the device, for both arms."""
        return OrderedDict(train=Resident(self.size, self.engine.device, self.streams))

    def _run_loader(self) -> None:
        arms = [("ours", super()._run_loader), ("control", self._control_epoch)]
        for arm, run in arms if self.epoch_step % 2 else arms[::-1]:
            self.seconds[arm].append(timed(run))

    def _control_epoch(self) -> None:
        if self.epoch_step == 1:
            network = build_network(self.cfg, nn.CrossEntropyLoss(ignore_index=255), pretrained=False)
            self.control = network.to(self.engine.device)
            self.control_optimizer = sgd(self.control, self.cfg.base_lr, self.cfg.momentum, self.cfg.weight_decay)
        cudnn = torch.backends.cudnn
        # `flags` turns off what it is not given, cuDNN itself included.
        kept = {"enabled": cudnn.enabled, "benchmark": False, "deterministic": not self.torch_defaults}
        with cudnn.flags(**kept, allow_tf32=self.torch_defaults):
            train_epoch(
                self.train_loader,
                self.control,
                self.control_optimizer,
                self.epoch_step - 1,
                self.cfg,
                device=self.engine.device,
                streams=self.streams,
                log=print,
                record=lambda record: self.record.write([record]),
            )


def compare(size: Size, repeats: int, settings: tuple[str, ...] = (), torch_defaults: bool = False) -> Comparison:
    """Times both arms in interleaved repeats, after one repeat that warms up (and compiles).

    Args:
        size: of the training.
        repeats: >= 1.
        settings: `--set` values of the Catalyst arm only.
        torch_defaults: see `InTurns`.

    Returns:
        Seconds a step.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        base = size.settings(folder, repeats)
        recipe, control = (load_recipe(["toy/pspnet50"], [*base, *more]) for more in (settings, ()))
        runner = InTurns(recipe, control, size, folder, torch_defaults)
        try:
            runner.run()
        finally:
            close_processes()
    ours, control_seconds = (np.array(runner.seconds[arm][1:]).T / size.steps for arm in ("ours", "control"))
    return Comparison(control_seconds[0], ours[0], control_seconds[1], ours[1])


def step_flops(size: Size) -> int:
    """Floating-point operations of one training step (2 for a multiply-add), by torch's counter on meta tensors."""
    recipe = load_recipe(["toy/pspnet50"], size.settings(Path("unused"), 1))
    with torch.device("meta"):
        network = build_network(recipe_to_official(recipe), nn.CrossEntropyLoss(ignore_index=255), pretrained=False)
        image = torch.empty(size.batch, 3, size.crop, size.crop)
        target = torch.zeros(size.batch, size.crop, size.crop, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            _, main, aux = network.train()(image, target)
            (main + 0.4 * aux).backward()
    return counter.get_total_flops()


def matrix_rate(dtype: torch.dtype, repeats: int = 5) -> float:
    """FLOP a second of a large square matrix product on the device at hand: the rate that steps are held against."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda: left @ right)[0] for _ in range(repeats + 1)]
    return 2 * side**3 / float(np.median(times[1:]))


def loop_cost(size: Size, repeats: int) -> Row:
    """The same float32 step in both arms; below 1, Catalyst's loop is the slower one."""
    return {"what": "loop", "arm": "fp32", **_about(size, repeats), **compare(size, repeats).row()}


def step_speeds(size: Size, repeats: int, arms: Mapping[str, tuple[str, ...]] = STEP_ARMS) -> Iterator[Row]:
    """The engine's ways against the control arm in float32 with torch's defaults; their share of the matrix rate."""
    flops = step_flops(size)
    rates = {dtype: matrix_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
    for name, settings in arms.items():
        row = compare(size, repeats, settings, torch_defaults=True).row()
        rate = rates[torch.bfloat16 if name.startswith("bf16") else torch.float32]
        yield {
            "what": "step",
            "arm": name,
            **_about(size, repeats),
            **row,
            "images_per_s": round(size.batch / row["ours_s"], 3),
            "gflop": round(flops / 1e9, 1),
            "gflop_per_s": round(flops / 1e9 / row["ours_s"], 1),
            "matrix_gflop_per_s": round(rate / 1e9, 1),
            "share_of_matrix_rate": round(flops / row["ours_s"] / rate, 3),
        }


def metric_cost(size: Size, repeats: int) -> Row:
    """One update of the mIoU metric (arg-max and counting) beside one step of the control arm."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Two classes and predictions that are right: as in a street, most pixels meet in few cells, where a GPU's counters
    # wait for each other.
    target = torch.randint(0, 2, (size.batch, size.crop, size.crop), device=device)
    logits = nn.functional.one_hot(target, CLASSES).permute(0, 3, 1, 2).float()

    def update() -> None:
        count_confusion(logits.argmax(1), target, CLASSES, 255)

    seconds = np.median([timed(update)[0] for _ in range(max(repeats, 5) + 1)][1:])
    step = float(np.median(compare(size, max(repeats // 3, 1)).control))
    return {
        "what": "metric",
        "arm": "mean_iou",
        **_about(size, repeats),
        "control_s": round(step, 5),
        "ours_s": round(float(seconds), 6),
        "share_of_step": round(float(seconds) / step, 5),
    }


def step_rows(size: Size, repeats: int, arms: Mapping[str, tuple[str, ...]] | None = None) -> Iterator[Row]:
    """All of the above; `arms` None: `arms_of_this_machine`."""
    arms = arms_of_this_machine() if arms is None else arms
    yield loop_cost(size, repeats)
    yield metric_cost(size, repeats)
    yield from step_speeds(size, repeats, arms)


def _about(size: Size, repeats: int) -> Row:
    return {
        "layers": size.layers,
        "crop": size.crop,
        "batch": size.batch,
        "steps": size.steps,
        "turns": repeats,
        "threads": torch.get_num_threads(),
    }
