"""Processes of the control arm: one, or as many as torchrun started."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed


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


def start_processes() -> Processes:
    """Joins the processes that torchrun started (nccl on GPUs, gloo on CPUs), or stands alone without torchrun."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if world_size > 1 and not distributed.is_initialized():
        join_processes("nccl" if device.type == "cuda" else "gloo")
    return Processes(rank, world_size, device)


def join_processes(backend: str, timeout: timedelta | None = None) -> None:
    """Finds the other processes of torchrun's present attempt.

    torchrun keeps one store for all its restarts, and a process that starts first would find the addresses that the
    attempt before has left there (https://github.com/pytorch/pytorch/issues/135712). So each attempt has its own keys.

    Args:
        backend: `nccl` or `gloo`.
        timeout: how long a process waits for the others; None is torch's default.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        distributed.init_process_group(backend, timeout=timeout)
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    waiting = {} if timeout is None else {"timeout": timeout}
    store = distributed.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world_size, is_master=False, **waiting
    )
    own = distributed.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    distributed.init_process_group(backend, store=own, rank=rank, world_size=world_size, timeout=timeout)


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
