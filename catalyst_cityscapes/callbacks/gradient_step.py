"""Backward and optimiser step, with gradient accumulation and clipping that work."""

from torch.nn.utils import clip_grad_norm_

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import StepCallback, TrainingRun
from semseg_ref.base.errors import OptionError


class GradientStep(StepCallback):
    """`backward` on every batch, `step` and `zero_grad` on every `accumulation_steps`-th.

    Stock Catalyst does not divide the loss by the number of accumulated batches and lets a rest leak into the next
    epoch. Here the loss is divided by the size of its own group, and the last, possibly smaller, group of an
    epoch steps too.

    Args:
        accumulation_steps: batches per optimiser step, >= 1.
        clip_norm: largest global gradient norm, or None (the reference does not clip).
    """

    ROLE = Role("gradient_step", affects="gradients")

    def __init__(self, accumulation_steps: int = 1, clip_norm: float | None = None) -> None:
        super().__init__()
        if accumulation_steps < 1:
            raise OptionError(f"accumulation_steps: {accumulation_steps} is not >= 1")
        self.accumulation_steps, self.clip_norm = accumulation_steps, clip_norm
        self._has_gradients = False

    def on_batch_end(self, runner: TrainingRun) -> None:
        """Backward, and a step where the group is complete; a batch that is left out gives no gradient."""
        if not runner.is_train_loader:
            return
        k, i = self.accumulation_steps, runner.data_batch
        loss = runner.batch_metrics["loss"]
        group_size = min(k, runner.train_batches - i // k * k)
        if not runner.skip_batch:
            # Here, as in the reference, and not after the step: activations that are allocated where the gradients
            # were cost 24 ms a step of PSPNet-50 in page faults on a CPU (docs/results.md).
            if not self._has_gradients:
                runner.optimizer.zero_grad()
            runner.engine.backward(loss if group_size == 1 else loss / group_size)
            self._has_gradients = True
        runner.batch_metrics["loss"] = loss.detach()
        runner.optimizer_stepped = (i + 1) % k == 0 or i + 1 == runner.train_batches
        if runner.optimizer_stepped and self._has_gradients:
            if self.clip_norm is not None:
                runner.engine.unscale_gradients(runner.optimizer)
                clip_grad_norm_(runner.network.parameters(), self.clip_norm)
            runner.optimizer.step()
            self._has_gradients = False
        if runner.optimizer_stepped:
            runner.optimizer_steps += 1
