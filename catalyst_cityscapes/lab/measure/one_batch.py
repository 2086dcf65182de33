"""What a loss or a metric sees when it is measured on known logits, without a training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from catalyst_cityscapes.models.resizing import Resizing
from catalyst_cityscapes.train.context import Losses, LossRun, MetricRun


@dataclass(frozen=True)
class OneProcess:
    """The engine of a single process on the CPU."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_processes: int = 1
    is_main_process: bool = True

    def sum_reduce(self, *tensors: torch.Tensor) -> None:
        """Leaves the tensors: there is nobody to sum over."""


@dataclass
class OneBatch(LossRun, MetricRun):
    """A loader of known logits: what losses and metrics are promised, and nothing else."""

    criterion: Callable | None = None
    batch: Mapping[str, Any] = field(default_factory=dict)
    is_train_loader: bool = True
    batch_size: int = 1
    engine: OneProcess = field(default_factory=OneProcess)
    batch_metrics: dict[str, Any] = field(default_factory=dict)
    loader_metrics: dict[str, float] = field(default_factory=dict)
    losses: Losses = field(default_factory=dict)
    resizing: Resizing = field(default_factory=Resizing)

    @property
    def is_valid_loader(self) -> bool:
        """Whether this is no training."""
        return not self.is_train_loader
