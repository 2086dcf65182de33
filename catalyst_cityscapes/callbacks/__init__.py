"""Training components: thin Catalyst callbacks over pure functions, one a file; cards in docs/components."""

from catalyst_cityscapes.callbacks.aux_loss import AuxLossWeighting
from catalyst_cityscapes.callbacks.checkpoint import Checkpoint
from catalyst_cityscapes.callbacks.determinism import DeterminismReport
from catalyst_cityscapes.callbacks.early_stopping import EarlyStopping
from catalyst_cityscapes.callbacks.epoch_log import EpochLogging
from catalyst_cityscapes.callbacks.gradient_step import GradientStep
from catalyst_cityscapes.callbacks.iteration_log import IterationLogging
from catalyst_cityscapes.callbacks.mean_iou import BatchMeanIoU, MeanIoU
from catalyst_cityscapes.callbacks.one_cycle import OneCycle
from catalyst_cityscapes.callbacks.poly_lr import PolyLR
from catalyst_cityscapes.callbacks.progress import Progress
from catalyst_cityscapes.callbacks.schedules.lr_schedule import LRSchedule
from catalyst_cityscapes.callbacks.schedules.torch_scheduler import TorchScheduler
from catalyst_cityscapes.callbacks.sync_bn import SyncBNConversion
from catalyst_cityscapes.callbacks.training_monitor import TrainingMonitor

__all__ = [
    "AuxLossWeighting",
    "BatchMeanIoU",
    "Checkpoint",
    "DeterminismReport",
    "EarlyStopping",
    "EpochLogging",
    "GradientStep",
    "IterationLogging",
    "LRSchedule",
    "MeanIoU",
    "OneCycle",
    "PolyLR",
    "Progress",
    "SyncBNConversion",
    "TorchScheduler",
    "TrainingMonitor",
]
