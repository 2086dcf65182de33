"""Part `step`: a training step at Cityscapes' size, batches on the device, arm by arm, with a profile of each."""

import contextlib
import io
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from catalyst_cityscapes.bench.step import Resident, Size, compare, step_flops
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from gpu.place import BATCH, CROP, CUDA, OUT, TINY, WORK, matrix_rate, say, told, wait
from gpu.trainings import CONFIGS, toy_recipe

STEPS, TURNS, CONTROL_STEPS, CONTROL_TURNS = (1, 1, 1, 1) if TINY else (8, 3, 4, 2)


class Arm(NamedTuple):
    """Overlays and `--set` values of one way to train."""

    configs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


CHANNELS_LAST = ("engine.memory_format=channels_last", "optimizer.fused=true")
NOT_COMPILED = "engine.compile=null"
ARMS: Mapping[str, Arm] = {
    "swap/fast_step": Arm(("swap/fast_step",)),
    "swap/fast_step, not compiled": Arm(("swap/fast_step",), (NOT_COMPILED,)),
    "not compiled, torch's resizes": Arm(("swap/fast_step",), (NOT_COMPILED, "engine.resize=interpolate")),
    "not compiled, no cudnn_benchmark": Arm(("swap/fast_step",), (NOT_COMPILED, "engine.cudnn_benchmark=false")),
    "not compiled, contiguous": Arm(("swap/fast_step",), (NOT_COMPILED, "engine.memory_format=contiguous")),
    "tf32 channels_last fused": Arm((), ("engine.precision=tf32", *CHANNELS_LAST)),
    "fp32 deterministic": Arm((), ("engine.deterministic=true",)),
}
"""One line an arm; those that count come first. Only the first compiles, which takes a minute or more."""
TINY_ARMS = ("swap/fast_step, not compiled",)


class Timed(SegmentationRunner):
    """Trains on batches that live on the device and keeps the seconds of each epoch's steps; profiles the last epoch.

    Args:
        recipe: of the arm.
        size: of the training.
    """

    def __init__(self, recipe: Recipe, size: Size) -> None:
        super().__init__(recipe)
        self.size = size
        self.seconds: list[float] = []
        self.profiled: profile | None = None

    def get_loaders(self) -> OrderedDict:
        """The batches on the device."""
        return OrderedDict(train=Resident(self.size, self.engine.device, self.streams))

    def _run_loader(self) -> None:
        wait()
        start = time.perf_counter()
        if CUDA and self.epoch_step == self.num_epochs:
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as self.profiled:
                super()._run_loader()
                wait()
            return
        super()._run_loader()
        wait()
        self.seconds.append((time.perf_counter() - start) / self.size.steps)


def reference(size: Size) -> float:
    """Seconds of the control arm's step in float32 with torch's defaults, in turns with ours in true float32."""
    row = compare(size, CONTROL_TURNS, torch_defaults=True).row()
    say("step of the control arm, torch's defaults", "fp32", **row, images_per_s=size.batch / row["control_s"])
    return float(row["control_s"])


def time_arm(name: str, arm: Arm, size: Size, control_s: float | None, flops: int, rate: float) -> None:
    """Trains an arm: one epoch to warm up and compile, `TURNS` timed ones, one profiled."""
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        recipe = toy_recipe(
            Path(folder),
            "callbacks.checkpoint.save_every=1000000",
            *arm.settings,
            crop=size.crop,
            batch=size.batch,
            epochs=TURNS + 1 + CUDA,
            configs=(*CONFIGS, *arm.configs),
        )
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        runner = Timed(recipe, size)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runner.run()
        finally:
            close_processes()
            torch._dynamo.reset()
    step_s = min(runner.seconds[1:])
    say(
        "step",
        name,
        ms=1e3 * step_s,
        images_per_s=size.batch / step_s,
        ratio=None if control_s is None else control_s / step_s,
        tflop_per_s=flops / step_s / 1e12,
        share_of_bf16_rate=flops / step_s / rate,
        first_epoch_s=runner.seconds[0] * size.steps,
        peak_gb=torch.cuda.max_memory_allocated() / 1e9 if CUDA else None,
    )
    if runner.profiled is not None:
        table = runner.profiled.key_averages().table(
            sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=110
        )
        with open(OUT / "profiles.txt", "a") as file:
            file.write(f"==== {name}: {size.steps} steps\n{table}\n")


def main() -> None:
    """The control arm, then the arms; the rate that they are held against is measured in the same process."""
    size = Size(50, CROP, BATCH, STEPS)
    flops, rate, control_s = step_flops(size), matrix_rate(torch.bfloat16), None
    say("step in numbers", tflop=flops / 1e12, bf16_tflop_per_s=rate / 1e12, crop=CROP, batch=BATCH, steps=STEPS)
    with told("step of the control arm, torch's defaults", "fp32"):
        control_s = reference(Size(50, CROP, BATCH, CONTROL_STEPS))
    for name, arm in ARMS.items():
        if TINY and name not in TINY_ARMS:
            continue
        with told("step", name):
            time_arm(name, arm, size, control_s, flops, rate)


if __name__ == "__main__":
    main()
