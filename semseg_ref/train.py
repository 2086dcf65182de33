"""The control arm: the reference's training loop in plain PyTorch.

    python -m semseg_ref.train --config tool/official/cityscapes/cityscapes_pspnet50.yaml [key value ...]

One process on one GPU or the CPU, or one per GPU under torchrun; the batch and the workers of the config are
totals, split over the processes as the reference does. It differs from the reference where the reference does
not do what it says: `manual_seed` seeds everything (`semseg_ref.seeding`), a `weight` or `resume` file that is
missing is an error, validation counts every image once, and convolutions do not use TF32 (the published numbers
come from cards without it).
"""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from semseg_ref.checkpoint import check_training_state, load_weights, official_state_dict, save_checkpoint
from semseg_ref.config import CfgNode, exit_on_input_error, parse_command_line, require_numbers, require_whole
from semseg_ref.dataset import SemData, check_list
from semseg_ref.distributed import Processes, all_reduce_sum, start_processes, stop_processes
from semseg_ref.errors import OptionError
from semseg_ref.evaluation import create_folder
from semseg_ref.metric import AverageMeter, intersection_and_union_torch
from semseg_ref.model.build import build_network
from semseg_ref.model.pspnet import check_side, downsample_target
from semseg_ref.optimizer import load_optimizer_state, set_learning_rate, sgd
from semseg_ref.sampling import EpochSampler, SeededDataset, ShardSampler, build_loader
from semseg_ref.schedule import poly_learning_rate
from semseg_ref.seeding import SeedStreams
from semseg_ref.train_log import IterationLog, IterationRecord
from semseg_ref.transform import MEAN, STD, train_transform, val_transform

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


def check_options(cfg: CfgNode) -> None:
    """Raises OptionError where an option is missing or cannot be trained with (`require_whole`, `require_numbers`)."""
    positive = ("train_h", "train_w", "batch_size", "batch_size_val", "epochs", "print_freq", "save_freq")
    require_whole(cfg, classes=2, ignore_label=0, workers=0, start_epoch=0, **dict.fromkeys(positive, 1))
    require_numbers(cfg, "scale_min", "scale_max", "rotate_min", "rotate_max")
    require_numbers(cfg, "aux_weight", "base_lr", "power", "momentum", "weight_decay")


def build_loaders(cfg: CfgNode, streams: SeedStreams | None, processes: Processes) -> tuple[Any, Any]:
    """This process's training loader and, when `evaluate` is set, validation loader; totals are split over all."""
    workers = math.ceil(cfg.workers / processes.world_size)
    transform = train_transform(
        cfg.train_h,
        cfg.train_w,
        (cfg.scale_min, cfg.scale_max),
        (cfg.rotate_min, cfg.rotate_max),
        ignore_label=cfg.ignore_label,
    )
    train_set = SemData("train", cfg.data_root, cfg.train_list, transform, cfg.classes, cfg.ignore_label)
    check_list(train_set.data_list, cfg.train_list)
    sampler = EpochSampler(len(train_set), streams, processes.rank, processes.world_size)
    batch = cfg.batch_size // processes.world_size
    if batch < 1 or len(sampler) < batch:
        raise OptionError(
            f"batch_size {cfg.batch_size}: no full batch for each of {processes.world_size} process(es) from "
            f"{len(train_set)} images in {cfg.train_list}"
        )
    train_loader = build_loader(SeededDataset(train_set, streams), sampler, batch, workers, drop_last=True)
    if not cfg.evaluate:
        return train_loader, None
    val_set = SemData(
        "val",
        cfg.data_root,
        cfg.val_list,
        val_transform(cfg.train_h, cfg.train_w, MEAN, STD),
        cfg.classes,
        cfg.ignore_label,
    )
    check_list(val_set.data_list, cfg.val_list)
    val_batch = max(cfg.batch_size_val // processes.world_size, 1)
    shard = ShardSampler(len(val_set), processes.rank, processes.world_size)
    return train_loader, build_loader(val_set, shard, val_batch, workers, drop_last=False)


def run(
    cfg: CfgNode,
    processes: Processes,
    log: Callable[[str], None] = print,
    scalars: Scalars | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Path:
    """Trains the experiment of an official config; returns the path of the last checkpoint.

    Args:
        cfg: flattened official config.
        processes: this process among all.
        log: receives the progress lines of the main process.
        scalars: receives (tag, value, step) on the main process.
        prepare: called once on the main process when all is built and checked, before anything is written.

    Raises:
        InputError: for a config, list, image, label or checkpoint that cannot be used; nothing is overwritten then.
    """
    torch.backends.cudnn.allow_tf32 = False
    check_options(cfg)
    if processes.is_main and len(cfg.train_gpu) != processes.world_size:
        log(
            f"train_gpu lists {len(cfg.train_gpu)} GPUs, but {processes.world_size} process(es) run on "
            f"{processes.device.type}; "
            f"the batch of {cfg.batch_size} is the same in all. One process per GPU: torchrun --nproc_per_node N -m ..."
        )
    streams = None if cfg.manual_seed is None else SeedStreams(cfg.manual_seed)
    train_loader, val_loader = build_loaders(cfg, streams, processes)
    if streams is not None:
        streams.seed_init()
    criterion = nn.CrossEntropyLoss(ignore_index=cfg.ignore_label)
    network = build_network(cfg, criterion, pretrained=cfg.get("pretrained", True))
    for side in ("train_h", "train_w"):
        check_side(f"{side} {cfg[side]}", cfg[side], getattr(network, "size_step", 1))
    optimizer = sgd(network, cfg.base_lr, cfg.momentum, cfg.weight_decay)
    if cfg.weight:
        load_weights(network, cfg.weight)
    start_epoch = cfg.start_epoch
    resumed = load_weights(network, cfg.resume) if cfg.resume else None
    network = network.to(processes.device)
    if resumed is not None:
        check_training_state(resumed, cfg.resume)
        load_optimizer_state(optimizer, resumed["optimizer"], cfg.resume)
        start_epoch = resumed["epoch"]
    model = network
    if processes.is_distributed:
        if cfg.sync_bn and processes.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        model = DistributedDataParallel(
            network, device_ids=None if processes.device.type == "cpu" else [processes.device]
        )

    folder = Path(cfg.save_path)
    if processes.is_main:
        create_folder(folder)
        prepare()
    records: IterationLog | None = None

    def record(row: IterationRecord) -> None:
        # Opened by the first step: a data set whose first image is bad leaves an earlier run's file alone.
        nonlocal records
        if records is None:
            records = IterationLog(folder / "iterations.csv", start_epoch * len(train_loader))
        records.write([row])

    path = folder / f"train_epoch_{start_epoch}.pth"
    for epoch in range(start_epoch, cfg.epochs):
        train_loader.sampler.set_epoch(epoch)
        result = train_epoch(
            train_loader,
            model,
            optimizer,
            epoch,
            cfg,
            device=processes.device,
            rank=processes.rank,
            streams=streams,
            scalars=scalars if processes.is_main else None,
            log=log if processes.is_main else None,
            record=record if processes.is_main else None,
        )
        _report("train", result, epoch, cfg, processes, log, scalars)
        if processes.is_main and (epoch + 1) % cfg.save_freq == 0:
            path = folder / f"train_epoch_{epoch + 1}.pth"
            state = {
                "epoch": epoch + 1,
                "state_dict": official_state_dict(network),
                "optimizer": optimizer.state_dict(),
            }
            save_checkpoint(path, state)
            if (epoch + 1) / cfg.save_freq > 2:
                (folder / f"train_epoch_{epoch + 1 - 2 * cfg.save_freq}.pth").unlink(missing_ok=True)
        if val_loader is not None:
            result = validate(val_loader, network, criterion, cfg, processes.device)
            _report("val", result, epoch, cfg, processes, log, scalars)
    return path


def _report(
    kind: str,
    result: EpochResult,
    epoch: int,
    cfg: CfgNode,
    processes: Processes,
    log: Callable,
    scalars: Scalars | None,
) -> None:
    if not processes.is_main:
        return
    loss, miou, macc, allacc = result
    log(f"{kind} epoch {epoch + 1}/{cfg.epochs}: loss {loss:.4f} mIoU/mAcc/allAcc {miou:.4f}/{macc:.4f}/{allacc:.4f}")
    if scalars is not None:
        for tag, value in zip(("loss", "mIoU", "mAcc", "allAcc"), result, strict=True):
            scalars(f"{tag}_{kind}", value, epoch + 1)


class TensorBoard:
    """TensorBoard scalars; their file is opened by the first value, so that bad input leaves no trace.

    Args:
        folder: where the event file goes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder
        self.writer: Any = None

    def add(self, tag: str, value: float, step: int) -> None:
        """Writes one value."""
        if self.writer is None:
            from tensorboardX import SummaryWriter  # only the command line needs it, the loop takes any callable

            self.writer = SummaryWriter(str(self.folder))
        self.writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Writes what is pending."""
        if self.writer is not None:
            self.writer.close()


def main() -> None:
    """Command line: `--config FILE [key value ...]`, the official format and override rules."""
    cfg = parse_command_line("Train the reference recipe without Catalyst (the control arm).")
    with exit_on_input_error("semseg_ref.train"):
        processes = start_processes()
        try:
            tensorboard = TensorBoard(cfg.save_path)
            path = run(cfg, processes, scalars=tensorboard.add)
            tensorboard.close()
            if processes.is_main:
                print(f"last checkpoint: {path}")
        finally:
            stop_processes()


if __name__ == "__main__":
    main()
