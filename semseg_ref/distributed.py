"""Processes of the control arm: one, or as many as torchrun started."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from semseg_ref.base.errors import OptionError


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        rank, world_size: global rank and number of processes.
        device: this process's device.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True in the process that logs and writes."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """True when there is more than one process."""
        return self.world_size > 1


def process_device(name: str = "auto") -> torch.device:
    """This process's own device; a GPU becomes the current one.

    Args:
        name: `cpu`, `cuda`, or `auto`: a GPU when one is visible.

    Raises:
        OptionError: `cuda`, and no GPU is visible.
    """
    is_visible = torch.cuda.is_available()
    if name == "cuda" and not is_visible:
        raise OptionError("engine.device: cuda asked for, but no GPU is visible; use 'auto' or 'cpu'")
    if name == "cpu" or not is_visible:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    # Before anything is done on a GPU, and before nccl is joined: either would take the first one otherwise.
    torch.cuda.set_device(device)
    return device


def start_processes(device: str = "auto") -> Processes:
    """Joins the processes that torchrun started (nccl on GPUs, gloo on CPUs), or stands alone without torchrun.

    Args:
        device: see `process_device`.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    own = process_device(device)
    if world_size > 1 and not distributed.is_initialized():
        join_processes(own)
    return Processes(rank, world_size, own)


def join_processes(device: torch.device, timeout: timedelta | None = None) -> None:
    """Finds the other processes of torchrun's present attempt.

    torchrun keeps one store for all its restarts, and a process that starts first would find the addresses that the
    attempt before has left there (https://github.com/pytorch/pytorch/issues/135712). So each attempt has its own keys.

    Args:
        device: this process's own: nccl on a GPU, told which one it is, gloo on a CPU.
        timeout: how long a process waits for the others; None is torch's default.
    """
    backend, bound = ("gloo", None) if device.type == "cpu" else ("nccl", device)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        distributed.init_process_group(backend, timeout=timeout, device_id=bound)
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    waiting = {} if timeout is None else {"timeout": timeout}
    store = distributed.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world_size, is_master=False, **waiting
    )
    own = distributed.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    distributed.init_process_group(
        backend, store=own, rank=rank, world_size=world_size, timeout=timeout, device_id=bound
    )


def stop_processes() -> None:
    """Leaves the process group, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def all_reduce_sum(*tensors: torch.Tensor) -> None:
    """Sums each tensor over all processes, in place; does nothing in one process."""
    if distributed.is_initialized():
        for tensor in tensors:
            distributed.all_reduce(tensor)


def leave_processes(code: int = 0) -> None:
    """Ends this process with `code` at once, where torchrun started several; call it last, when all files are closed.

    torch 2.11's gloo keeps a thread (`pt_gloo_runloop`) that outlives `destroy_process_group`. Now and then it aborts a
    process that has finished ("terminate called without an active exception", about 1 of 14 runs on a loaded machine),
    and torchrun reports a failure.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
