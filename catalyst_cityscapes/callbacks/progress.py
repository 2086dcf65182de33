"""What a person sees while it trains."""

import sys
import time

from tqdm import tqdm

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from semseg_ref.base.errors import OptionError


class Progress(PlacedCallback):
    """A bar on a terminal, plain lines elsewhere; the loss is read from the device only every `every` steps.

    Args:
        every: steps between updates, >= 1.
    """

    ROLE = Role("log", affects="nothing")
    place = Place.DISPLAY

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise OptionError(f"every: {every} is not >= 1")
        self.every = every

    def on_loader_start(self, runner: TrainingRun) -> None:
        """Starts the bar and the clock."""
        self._start, self._first = time.time(), runner.iteration + 1
        self._bar = None
        if runner.engine.is_main_process and sys.stderr.isatty():
            title = f"{runner.loader_key} {runner.milestone}/{runner.length.total}"
            self._bar = tqdm(total=runner.loader_batch_len, initial=self._first, desc=title, leave=False)

    def on_batch_start(self, runner: TrainingRun) -> None:
        """Notes the rate that this step will use; after it, the next one's is there."""
        self._rate = runner.optimizer.param_groups[0]["lr"] if runner.is_train_loader else None

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Every so many steps, shows loss, rate and speed."""
        done = runner.iteration + 1
        in_iterations = runner.length.unit == "iteration" and runner.is_train_loader
        if not runner.engine.is_main_process or (done % self.every and done != runner.loader_batch_len):
            return
        loss = float(runner.batch_metrics["loss"])
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            self._bar.update(done - self._bar.n)
            return
        speed = (time.time() - self._start) / (done - self._first)
        rate = "" if self._rate is None else f" lr {float(self._rate):.3g}"
        step = "" if in_iterations else f" step {done}/{runner.loader_batch_len}"
        counted = runner.optimizer_steps if in_iterations else runner.milestone
        print(
            f"{runner.loader_key} {runner.length.unit} {counted}/{runner.length.total}{step} "
            f"loss {loss:.4f}{rate} {speed:.2f} s/step",
            flush=True,
        )

    def on_loader_end(self, runner: TrainingRun) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_epoch_end(self, runner: TrainingRun) -> None:
        """One line an epoch, or a round of iterations."""
        if not runner.engine.is_main_process:
            return
        parts = []
        for loader, metrics in runner.epoch_metrics.items():
            shown = [f"{k} {metrics[k]:.4f}" for k in ("loss", "mIoU", "mAcc", "allAcc") if k in metrics]
            if shown:
                parts.append(f"{loader}: {' '.join(shown)}")
        print(f"{runner.length.unit} {runner.milestone}/{runner.length.total} | {' | '.join(parts)}", flush=True)

    def on_exception(self, runner: TrainingRun) -> None:
        """Leaves the terminal clean."""
        if getattr(self, "_bar", None) is not None:
            self._bar.close()
