"""One epoch of the reference's training loop, and its in-training validation."""

import time
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from semseg_ref.base.iteration_log import IterationRecord
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.config import CfgNode
from semseg_ref.distributed import all_reduce_sum
from semseg_ref.metric import AverageMeter, intersection_and_union_torch
from semseg_ref.model.pspnet import downsample_target
from semseg_ref.optimizer import set_learning_rate
from semseg_ref.schedule import poly_learning_rate

Scalars = Callable[[str, float, int], None]
EpochResult = tuple[float, float, float, float]
EPSILON = 1e-10


class AreaMeters:
    """Summed areas of intersection, union and target, and the reference's means over classes."""

    def __init__(self, classes: int, ignore_label: int) -> None:
        self.classes, self.ignore_label = classes, ignore_label
        self.meters = tuple(AverageMeter() for _ in range(3))

    def update(self, prediction: torch.Tensor, target: torch.Tensor) -> tuple[float, float, float]:
        """Adds one batch, over all ranks; returns that batch's own (mIoU, mAcc, allAcc)."""
        areas = intersection_and_union_torch(prediction, target, self.classes, self.ignore_label)
        all_reduce_sum(*areas)
        for meter, area in zip(self.meters, areas, strict=True):
            meter.update(area.cpu().numpy())
        return self._means([meter.val for meter in self.meters])

    def result(self) -> tuple[float, float, float]:
        """(mIoU, mAcc, allAcc) of everything added; a class that never occurs counts as 0."""
        return self._means([meter.sum for meter in self.meters])

    @staticmethod
    def _means(areas: list) -> tuple[float, float, float]:
        intersection, union, target = areas
        iou, accuracy = intersection / (union + EPSILON), intersection / (target + EPSILON)
        return float(iou.mean()), float(accuracy.mean()), float(intersection.sum() / (target.sum() + EPSILON))


def _mean_over_images(losses: list[torch.Tensor], batch_size: int) -> list[torch.Tensor]:
    # For reporting only: the gradient is the plain mean over ranks of per-rank losses.
    losses = [loss.detach() for loss in losses]
    if not torch.distributed.is_initialized():
        return losses
    sums = [loss * batch_size for loss in losses]
    count = torch.tensor(batch_size, device=losses[0].device)
    all_reduce_sum(*sums, count)
    return [value / count for value in sums]


def train_epoch(
    loader: Iterable,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    cfg: CfgNode,
    *,
    device: torch.device | str = "cpu",
    rank: int = 0,
    streams: SeedStreams | None = None,
    scalars: Scalars | None = None,
    log: Callable[[str], None] | None = None,
    record: Callable[[IterationRecord], None] | None = None,
) -> EpochResult:
    """Trains one epoch, step for step as the reference does.

    Args:
        loader: sized iterable of (image float [N, 3, H, W], target int64 [N, H, W]).
        model: network with the reference's contract, possibly wrapped in DDP.
        optimizer: its groups carry `lr_multiplier`; the poly rate is written after each step.
        epoch: counted from 0.
        cfg: uses epochs, base_lr, power, aux_weight, classes, ignore_label, zoom_factor, print_freq.
        device: where the batches go.
        rank: of this process, for the dropout stream.
        streams: seeds dropout per step; None leaves torch's generator alone.
        scalars: receives (tag, value, step) on the main process, the reference's TensorBoard scalars.
        log: receives a line every `print_freq` iterations.
        record: receives every step's `IterationRecord`.

    Returns:
        (mean main loss, mIoU, mAcc, allAcc) of the epoch's training crops.
    """
    model.train()
    times = {name: AverageMeter() for name in ("data", "batch")}
    losses = {name: AverageMeter() for name in ("main", "aux", "total")}
    areas = AreaMeters(cfg.classes, cfg.ignore_label)
    max_iter = cfg.epochs * len(loader)
    end = time.time()
    for i, (image, target) in enumerate(loader):
        times["data"].update(time.time() - end)
        image, target = image.to(device, non_blocking=True), target.to(device, non_blocking=True)
        if cfg.zoom_factor != 8:
            target = downsample_target(target, cfg.zoom_factor)
        current_iter = epoch * len(loader) + i
        if streams is not None:
            streams.seed_dropout(epoch, i, rank)
        prediction, main_loss, aux_loss = model(image, target)
        loss = main_loss + cfg.aux_weight * aux_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        used = [group["lr"] for group in optimizer.param_groups]
        reported = [float(v) for v in _mean_over_images([main_loss, aux_loss, loss], image.shape[0])]
        miou, macc, allacc = areas.update(prediction, target)
        for meter, value in zip(losses.values(), reported, strict=True):
            meter.update(value, image.shape[0])
        times["batch"].update(time.time() - end)
        end = time.time()
        if record is not None:
            record(IterationRecord(current_iter, epoch, used[0], used[-1], *reported))
        set_learning_rate(optimizer, poly_learning_rate(cfg.base_lr, current_iter + 1, max_iter, cfg.power))
        if log is not None and (i + 1) % cfg.print_freq == 0:
            left = int((max_iter - current_iter - 1) * times["batch"].avg)
            log(
                f"epoch {epoch + 1}/{cfg.epochs} iteration {i + 1}/{len(loader)} "
                f"data {times['data'].val:.3f} s batch {times['batch'].val:.3f} s "
                f"left {left // 3600:02d}:{left % 3600 // 60:02d}:{left % 60:02d} "
                f"main {reported[0]:.4f} aux {reported[1]:.4f} loss {reported[2]:.4f} accuracy {allacc:.4f}"
            )
        if scalars is not None:
            for tag, value in zip(("loss", "mIoU", "mAcc", "allAcc"), (reported[0], miou, macc, allacc), strict=True):
                scalars(f"{tag}_train_batch", value, current_iter + 1)
    return losses["main"].avg, *areas.result()


@torch.no_grad()
def validate(
    loader: Iterable,
    model: nn.Module,
    criterion: nn.Module,
    cfg: CfgNode,
    device: torch.device | str = "cpu",
) -> EpochResult:
    """The reference's in-training validation: one centre crop per image, no flip, no sliding window.

    Not comparable with the tester's score; see `semseg_ref.tester` for that.

    Returns:
        (loss averaged over images, mIoU, mAcc, allAcc).
    """
    model.eval()
    loss_meter, areas = AverageMeter(), AreaMeters(cfg.classes, cfg.ignore_label)
    for image, target in loader:
        image, target = image.to(device, non_blocking=True), target.to(device, non_blocking=True)
        logits = model(image)
        if cfg.zoom_factor != 8:
            logits = F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=True)
        loss = _mean_over_images([criterion(logits, target)], image.shape[0])[0]
        areas.update(logits.max(1)[1], target)
        loss_meter.update(float(loss), image.shape[0])
    return loss_meter.avg, *areas.result()
