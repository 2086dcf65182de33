"""Batch norm over all processes' batches."""

from typing import Literal

from torch import nn

from catalyst_cityscapes.recipe.role import Role
from catalyst_cityscapes.train.context import Place, PlacedCallback, TrainingRun
from semseg_ref.base.errors import OptionError, did_you_mean

BACKENDS = ("torch", "apex")


def convert_sync_bn(model: nn.Module, backend: str = "torch") -> nn.Module:
    """Replaces every batch norm layer by its synchronised form, on the same parameter objects.

    Args:
        model: a bare network, before DDP.
        backend: `torch` (the reference's) or `apex` (the 2020 Catalyst attempt's).

    Raises:
        OptionError: unknown backend, or NVIDIA's apex is not importable.
    """
    if backend == "torch":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if backend != "apex":
        raise OptionError(f"callbacks.sync_bn.backend: unknown backend '{backend}'{did_you_mean(backend, BACKENDS)}")
    try:
        from apex.parallel import convert_syncbn_model  # NVIDIA's; the package index's apex is another project
    except ImportError as error:
        raise OptionError(
            "callbacks.sync_bn.backend: NVIDIA's apex is not importable (the package index's 'apex' is another); "
            "build it from NVIDIA's sources, or use backend: torch"
        ) from error
    return convert_syncbn_model(model)


class SyncBNConversion(PlacedCallback):
    """Converts the network before it is wrapped for DDP; does nothing in one process or on CPUs.

    The reference turns it off with one GPU too; torch's SyncBatchNorm runs on GPUs only.

    Args:
        backend: `torch` or `apex`.
    """

    ROLE = Role("sync_bn", affects="network", topics="sync_bn")
    place = Place.NETWORK

    def __init__(self, backend: Literal["torch", "apex"] = "torch") -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise OptionError(f"backend: unknown backend '{backend}'{did_you_mean(str(backend), BACKENDS)}")
        self.backend = backend

    def convert_model(self, model: nn.Module, runner: TrainingRun) -> nn.Module:
        """Called by the runner on the bare network."""
        if runner.engine.num_processes == 1 or runner.engine.device.type != "cuda":
            return model
        return convert_sync_bn(model, self.backend)
