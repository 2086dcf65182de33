"""Part `end_to_end`: a training from files at Cityscapes' size, so that loader, copies and steps have to keep up."""

import contextlib
import io
import shutil
import time

from catalyst import dl

from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.train.engine import close_processes
from catalyst_cityscapes.train.runner import SegmentationRunner
from gpu.place import BATCH, CORES, CROP, CUDA, TINY, WORK, say, told, wait
from gpu.scenes import photographs
from gpu.trainings import CONFIGS, toy_recipe

FAST = ("swap/augmentation_crop_first", *(("swap/fast_step",) if CUDA else ()))
CACHE = f"data.cache={WORK / 'cache'}"
ARMS = {
    "swap/fast_step, from the cache": (FAST, (CACHE,)),
    "swap/fast_step, from PNG": (FAST, ()),
}
"""One line an arm: overlays and `--set` values."""
STEPS, WARM_UP, WORKERS = (2, 1, 1) if TINY else (60, 20, CORES)


class Paced(SegmentationRunner):
    """Keeps the time at which each step of an epoch began, and that at which the last ended."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.marks: list[float] = []

    def on_batch_start(self, runner: dl.IRunner) -> None:
        """Takes the time once the device has caught up, at two steps only: waiting at each would cost."""
        if self.iteration + 1 == WARM_UP:
            wait()
            self.marks.append(time.perf_counter())
        super().on_batch_start(runner)

    def on_loader_end(self, runner: dl.IRunner) -> None:
        """The end of the last step."""
        wait()
        self.marks.append(time.perf_counter())
        super().on_loader_end(runner)


def train(name: str, configs: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Trains `STEPS` steps; the first `WARM_UP` (and compiling) do not count, nor does the checkpoint."""
    city = photographs()
    lines = (city / "list" / "repeated.txt").read_text().splitlines()
    listing = city / "list" / "steps.txt"
    listing.write_text("\n".join(lines[: STEPS * BATCH]) + "\n")
    logdir = WORK / "end_to_end"
    shutil.rmtree(logdir, ignore_errors=True)
    recipe = toy_recipe(
        logdir,
        f"data.root={city}",
        f"data.train_list={listing}",
        f"sampling.workers={WORKERS}",
        *settings,
        crop=CROP,
        batch=BATCH,
        epochs=1,
        configs=(*CONFIGS, *configs),
    )
    runner, start = Paced(recipe), time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            runner.run()
    finally:
        close_processes()
    step_s = (runner.marks[1] - runner.marks[0]) / (STEPS - WARM_UP)
    say(
        "training from files",
        name,
        ms=1e3 * step_s,
        images_per_s=BATCH / step_s,
        loss=float(runner.experiment_metrics[1]["train"]["loss"]),
        seconds=time.perf_counter() - start,
        steps=STEPS,
        workers=WORKERS,
    )


if __name__ == "__main__":
    for arm, (overlays, values) in ARMS.items():
        with told("training from files", arm):
            train(arm, overlays, values)
