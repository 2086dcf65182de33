"""Part `syncbn`: SyncBatchNorm and DDP in two processes on one device, over gloo, since nccl refuses that.

The group is made here first; the engine and the control arm take one that is there.
"""

import csv
import os
import socket
import subprocess
import sys
from datetime import timedelta

import torch
from torch import distributed

from gpu.place import DEVICE, TINY, WORK, say, told
from gpu.trainings import DETERMINISTIC, checkpoint, control, difference, toy_recipe

PROCESSES, SECONDS = 2, 600 if TINY else 50
ARMS = {"with": (), **({} if TINY else {"without": ("callbacks.sync_bn=null",)})}
"""On a CPU both would be without: torch has its SyncBatchNorm for GPUs only."""
BATCH = 4
"""Two images a process: batch norm over one value has no variance."""


def child() -> None:
    """One of the processes: trains each arm for an epoch."""
    from accelerate.state import AcceleratorState, PartialState

    from catalyst_cityscapes.train.runner import SegmentationRunner

    if DEVICE.type == "cuda":
        torch.cuda.set_device(0)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=SECONDS))
    for name, settings in ARMS.items():
        SegmentationRunner(toy_recipe(WORK / f"syncbn_{name}", *settings, *DETERMINISTIC, batch=BATCH, epochs=1)).run()
        # The group stays for the next arm: `close_processes` would leave it.
        AcceleratorState._reset_state(reset_partial_state=False)
        PartialState._reset_state()
    control(toy_recipe(WORK / "syncbn_control", *DETERMINISTIC, batch=BATCH, epochs=1))
    distributed.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's thread outlives the group and now and then aborts a process that is done


def parent() -> None:
    """Starts the processes, and compares what they wrote."""
    toy_recipe(WORK / "unused")  # draws the scenes once
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(PROCESSES), "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "gpu.syncbn"]
    children = [subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)}) for rank in range(PROCESSES)]
    say("two processes on one device", "gloo", codes=[process.wait() for process in children])
    for name in ARMS:
        with told("losses of the first steps", name), open(WORK / f"syncbn_{name}" / "iterations.csv") as file:
            say("losses of the first steps", name, rows=[list(row.values())[-3:] for row in csv.DictReader(file)][:3])
    compared = {
        "catalyst = control, SyncBatchNorm, 2 processes": ("with", "control"),
        "with SyncBatchNorm = without": ("with", "without"),
    }
    for what, arms in compared.items():
        if TINY and "without" in arms:
            continue
        with told(what):
            say(what, **difference(*(checkpoint(WORK / f"syncbn_{arm}", 1) for arm in arms)))


if __name__ == "__main__":
    child() if "RANK" in os.environ else parent()
