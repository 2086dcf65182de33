"""How large checkpoints get, and whether the disk has room for them."""

import shutil
from pathlib import Path

import torch
from torch import nn

from catalyst_cityscapes.runs.checkpoints import occupied
from semseg_ref.base.errors import InputError, StorageError

OVERHEAD = 1 << 20
"""Bytes of names, recipe and archive."""


def checkpoint_bytes(network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Size of one checkpoint: weights, buffers, and what the optimiser keeps of each parameter."""
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    trained = sum(value.numel() * value.element_size() for value in network.parameters() if value.requires_grad)
    moments = 2 if "betas" in optimizer.defaults else 1
    return weights + moments * trained + OVERHEAD


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, size: int, files: int) -> None:
    """Asks before a run for the space of `files` checkpoints; those that lie there already make room for new ones.

    Raises:
        InputError: there is less, or the first of them does not fit beside those.
    """
    free, there = _free(folder.absolute()), occupied(folder)
    if there and size > free:
        raise InputError(
            f"{folder}: a checkpoint of {size / 1e6:.0f} MB has to fit beside those that it replaces, and "
            f"{free / 1e6:.0f} MB are free; make room, or choose another experiment.logdir"
        )
    if files * size > free + there:
        raise InputError(
            f"{folder}: {files} checkpoints of {size / 1e6:.0f} MB need {files * size / 1e6:.0f} MB, and "
            f"{(free + there) / 1e6:.0f} MB are free; make room, choose another experiment.logdir, or lower "
            "callbacks.checkpoint.keep"
        )


def check_space(folder: Path, size: int) -> None:
    """Asks for the space of the next checkpoint.

    Raises:
        StorageError: there is less.
    """
    free = _free(folder.absolute())
    if size > free:
        raise StorageError(f"{folder}: a checkpoint of {size / 1e6:.0f} MB does not fit, {free / 1e6:.0f} MB are free")
