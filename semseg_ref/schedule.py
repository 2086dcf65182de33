"""Learning rates as functions of the training's progress."""

from semseg_ref.base.errors import OptionError


def poly_learning_rate(base_lr: float, curr_iter: int, max_iter: int, power: float = 0.9) -> float:
    """Learning rate of iteration `curr_iter` under the reference's poly schedule.

    `base_lr * (1 - curr_iter / max_iter) ** power`. The reference writes the value for `k + 1` after optimizer step
    `k`, so the first step uses `base_lr` undecayed and the final 0 is never used.

    Args:
        base_lr: learning rate of iteration 0.
        curr_iter: iteration counted from 0 over all epochs, 0..max_iter.
        max_iter: number of iterations of the whole training (epochs x iterations an epoch), at least 1.
        power: exponent.

    Raises:
        OptionError: `curr_iter` outside 0..max_iter; the formula gives a complex number there.
    """
    if not 0 <= curr_iter <= max_iter or max_iter < 1:
        raise OptionError(
            f"poly_learning_rate: curr_iter {curr_iter}, expected 0..max_iter with max_iter {max_iter} >= 1"
        )
    return base_lr * (1 - float(curr_iter) / max_iter) ** power


def step_learning_rate(base_lr: float, epoch: int, step_epoch: int, multiplier: float = 0.1) -> float:
    """Learning rate of `epoch` (from 0): `base_lr`, times `multiplier` after every `step_epoch` epochs."""
    return base_lr * (multiplier ** (epoch // step_epoch))
