"""The control arm: the reference's training loop in plain PyTorch.

    python -m semseg_ref.train --config tool/official/cityscapes/cityscapes_pspnet50.yaml [key value ...]

One process on one GPU or the CPU, or one per GPU under torchrun; the batch and the workers of the config are
totals, split over the processes as the reference does. It differs from the reference where the reference does
not do what it says: `manual_seed` seeds everything (`semseg_ref.base.seed_streams`), a `weight` or `resume` file that
is missing is an error, validation counts every image once, and convolutions do not use TF32 (the published numbers
come from cards without it).
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from semseg_ref.base.arithmetic import set_cudnn
from semseg_ref.base.checkpoints.state_dict import (
    check_training_state,
    load_weights,
    official_state_dict,
    save_checkpoint,
)
from semseg_ref.base.errors import OptionError
from semseg_ref.base.files import create_folder
from semseg_ref.base.iteration_log import IterationLog, IterationRecord
from semseg_ref.base.seed_streams import SeedStreams
from semseg_ref.checks.batch import needs_several_images
from semseg_ref.checks.lists import check_training_lists
from semseg_ref.checks.workers import told_loader_faults
from semseg_ref.config import CfgNode, exit_on_input_error, parse_command_line, require_numbers, require_whole
from semseg_ref.dataset import SemData, check_list
from semseg_ref.distributed import Processes, leave_processes, start_processes, stop_processes
from semseg_ref.loop import EpochResult, Scalars, train_epoch, validate
from semseg_ref.metric import check_ignored_value
from semseg_ref.model.build import build_network
from semseg_ref.model.pspnet import check_side
from semseg_ref.optimizer import load_optimizer_state, sgd
from semseg_ref.sampling import EpochSampler, SeededDataset, ShardSampler, build_loader
from semseg_ref.transform import MEAN, STD, train_transform, val_transform


def check_options(cfg: CfgNode) -> None:
    """Raises OptionError where an option is missing or cannot be trained with (`require_whole`, `require_numbers`)."""
    positive = ("train_h", "train_w", "batch_size", "batch_size_val", "epochs", "print_freq", "save_freq")
    require_whole(cfg, classes=2, ignore_label=0, workers=0, start_epoch=0, **dict.fromkeys(positive, 1))
    check_ignored_value(cfg.ignore_label, cfg.classes, "option 'ignore_label'")
    require_numbers(cfg, "scale_min", "scale_max", "rotate_min", "rotate_max")
    require_numbers(cfg, "aux_weight", "base_lr", "power", "momentum", "weight_decay")


def build_loaders(
    cfg: CfgNode, streams: SeedStreams | None, processes: Processes, log: Callable[[str], None] = print
) -> tuple[Any, Any]:
    """This process's training loader and, when `evaluate` is set, validation loader; totals are split over all.

    `log` receives what `check_training_lists` warns of.
    """
    workers = math.ceil(cfg.workers / processes.world_size)
    transform = train_transform(
        cfg.train_h,
        cfg.train_w,
        (cfg.scale_min, cfg.scale_max),
        (cfg.rotate_min, cfg.rotate_max),
        ignore_label=cfg.ignore_label,
    )
    train_set = SemData("train", cfg.data_root, cfg.train_list, transform, cfg.classes, cfg.ignore_label)
    check_list(train_set.data_list, cfg.train_list, cfg.data_root)
    notes = check_training_lists(
        train_set.data_list,
        cfg.train_list,
        cfg.data_root,
        cfg.get("val_list") or "",
        cfg.classes,
        cfg.ignore_label,
    )
    for note in notes if processes.is_main else ():
        log(f"warning: {note}")
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
    check_list(val_set.data_list, cfg.val_list, cfg.data_root)
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
    # As the reference does when it is seeded; an unseeded run has torch's defaults there and here.
    set_cudnn(deterministic=cfg.manual_seed is not None)
    if processes.is_main and len(cfg.train_gpu) != processes.world_size:
        log(
            f"train_gpu lists {len(cfg.train_gpu)} GPUs, but {processes.world_size} process(es) run on "
            f"{processes.device.type}; "
            f"the batch of {cfg.batch_size} is the same in all. One process per GPU: torchrun --nproc_per_node N -m ..."
        )
    streams = None if cfg.manual_seed is None else SeedStreams(cfg.manual_seed)
    train_loader, val_loader = build_loaders(cfg, streams, processes, log)
    if streams is not None:
        streams.seed_init()
    criterion = nn.CrossEntropyLoss(ignore_index=cfg.ignore_label)
    network = build_network(cfg, criterion, pretrained=cfg.get("pretrained", True))
    for side in ("train_h", "train_w"):
        check_side(f"{side} {cfg[side]}", cfg[side], getattr(network, "size_step", 1))
    batch = cfg.batch_size // processes.world_size
    crop = (cfg.train_h, cfg.train_w)
    if batch == 1 and not _synchronised(cfg, processes) and needs_several_images(network, crop, with_target=True):
        raise OptionError(
            f"batch_size {cfg.batch_size}: one image for each of {processes.world_size} process(es), which this "
            "network cannot be trained on: it has batch norm on maps of 1 x 1 pixels; make it at least "
            f"{2 * processes.world_size}"
        )
    optimizer = sgd(network, cfg.base_lr, cfg.momentum, cfg.weight_decay)
    if cfg.weight:
        load_weights(network, cfg.weight, log)
    start_epoch = cfg.start_epoch
    resumed = load_weights(network, cfg.resume, log) if cfg.resume else None
    network = network.to(processes.device)
    if resumed is not None:
        check_training_state(resumed, cfg.resume)
        load_optimizer_state(optimizer, resumed["optimizer"], cfg.resume)
        start_epoch = resumed["epoch"]
    model = network
    if processes.is_distributed:
        if _synchronised(cfg, processes):
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
        with told_loader_faults(cfg.workers):
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
            with told_loader_faults(cfg.workers):
                result = validate(val_loader, network, criterion, cfg, processes.device)
            _report("val", result, epoch, cfg, processes, log, scalars)
    return path


def _synchronised(cfg: CfgNode, processes: Processes) -> bool:
    return bool(cfg.sync_bn and processes.is_distributed and processes.device.type == "cuda")


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
    leave_processes()


if __name__ == "__main__":
    main()
