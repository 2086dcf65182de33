"""The engine: one process, or as many as torchrun started; CPU or GPU; fp32, tf32, bf16 or fp16.

Catalyst 22.4's engine is an accelerate `Accelerator`. What does not work on accelerate >= 1.0 is replaced here:
`mean_reduce_ddp_metrics` asks for `DistributedType.TPU`, which no longer exists, and fails every run in one process.
"""

import os
from datetime import timedelta
from typing import Any, Literal

import torch
from accelerate import DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, PartialState
from catalyst.core.engine import Engine
from torch import distributed

from semseg_ref.base.arithmetic import set_cudnn
from semseg_ref.base.errors import LostProcessError, OptionError
from semseg_ref.distributed import all_reduce_sum, join_processes, process_device, stop_processes

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda"]
CPU_BF16 = ("avx512_bf16", "amx_bf16")
"""Instruction sets with bf16 products, as torch names them."""


def all_reduce_metrics(engine: Engine, metrics: dict[str, Any]) -> dict[str, float]:
    """Means over ranks of scalar metrics, in one float64 all-reduce; plain floats in one process."""
    values = {key: float(value) for key, value in metrics.items()}
    if engine.num_processes == 1 or not values:
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=engine.device)
    distributed.all_reduce(tensor)
    return dict(zip(values, (tensor / engine.num_processes).tolist(), strict=True))


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 itself (AVX512-BF16 or AMX), and oneDNN may use that.

    Elsewhere torch emulates it, an order of magnitude slower than float32 and with bf16's rounding all the same.
    """
    capabilities = torch.cpu.get_capabilities()
    in_hardware = any(capabilities.get(name, False) for name in CPU_BF16)
    # False as well where ONEDNN_MAX_CPU_ISA forbids what the processor has.
    return in_hardware and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class SegmentationEngine(Engine):
    """Catalyst engine for one process or torchrun.

    Args:
        precision: `fp32` is true float32 (TF32 off), `tf32` allows TF32, `bf16` and `fp16` run the model under
            autocast; fp16 scales the loss and needs a GPU, bf16 a GPU or a processor that has it (`cpu_has_bf16`).
        device: `auto` takes a GPU when one is visible.
        timeout_minutes: how long a process waits for the others.
        deterministic, benchmark: of cuDNN, see `semseg_ref.base.arithmetic.set_cudnn`.

    Raises:
        OptionError: a GPU is asked for and none is visible, fp16 on a CPU, bf16 on a CPU without it, or torchrun's
            processes did not find each other.
    """

    def __init__(
        self,
        precision: Precision = "fp32",
        device: Device = "auto",
        timeout_minutes: float = 30.0,
        deterministic: bool = False,
        benchmark: bool = False,
    ) -> None:
        own = process_device(device)
        cpu = own.type == "cpu"
        if cpu and precision == "fp16":
            raise OptionError("engine.precision: fp16 needs a GPU; on a CPU use 'fp32' or 'bf16'")
        if cpu and precision == "bf16" and not cpu_has_bf16():
            raise OptionError(
                "engine.precision: bf16 on a CPU needs AVX512-BF16 or AMX, which this one does not have or "
                "ONEDNN_MAX_CPU_ISA forbids; emulated it is many times slower than float32; use 'fp32'"
            )
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        set_cudnn(deterministic, benchmark)
        # Accelerate keeps its state for the whole process; a second run in it may have another precision.
        AcceleratorState._reset_state(reset_partial_state=False)
        mixed = precision if precision in ("bf16", "fp16") else "no"
        # On GPUs a watchdog thread aborts the process when the time is up, without a word of the step. The agreement of
        # all processes goes over the CPUs with the shorter time, so that it speaks first.
        timeout = timedelta(minutes=timeout_minutes if cpu else timeout_minutes + 1)
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if world_size > 1 and not distributed.is_initialized():
            join_processes(own, timeout)
        super().__init__(cpu=cpu, mixed_precision=mixed, kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)])
        if self.num_processes != world_size:
            raise OptionError(
                f"torchrun started {world_size} processes, but the engine sees {self.num_processes}; "
                "on CPUs set engine.device: cpu"
            )

    def allow_unused_parameters(self) -> None:
        """Lets processes train a network that has parameters without a gradient; DDP would wait for each of them."""
        self.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)

    def mean_reduce_ddp_metrics(self, metrics: dict[str, Any]) -> dict[str, float]:
        """See `all_reduce_metrics`."""
        return all_reduce_metrics(self, metrics)

    def sum_reduce(self, *tensors: torch.Tensor) -> None:
        """Sums each tensor over all processes, in place."""
        all_reduce_sum(*tensors)

    def broadcast(self, *tensors: torch.Tensor) -> None:
        """Gives every process the main one's values, in place."""
        if self.num_processes > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def require_same(self, *values: int, what: str) -> None:
        """Raises OptionError unless all processes have the same values; `what` they come from."""
        if self.num_processes == 1:
            return
        own = torch.tensor(values, device=self.device)
        largest, smallest = own.clone(), own.clone()
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
        if not torch.equal(largest, smallest):
            raise OptionError(
                f"{what}: the processes found different checkpoints; experiment.logdir must be on a disk they all see"
            )


def lost_process(error: BaseException, place: str, timeout_minutes: float) -> LostProcessError | None:
    """An error that names the step, where a collective operation failed because another process is gone or hangs.

    Args:
        error: whatever was raised.
        place: epoch and step in words.
        timeout_minutes: how long a process waits for the others.

    Returns:
        None for any other error.
    """
    text = " ".join(str(error).split())
    # The third is gloo's own, where a broadcast waited too long.
    is_named = any(words in text for words in ("gloo", "NCCL", "timeout caused pair closure"))
    of_backend = isinstance(error, RuntimeError) and distributed.is_initialized() and is_named
    if not of_backend and not isinstance(error, (LostProcessError, distributed.DistError)):
        return None
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return LostProcessError(
        f"process {rank} of {world}, {place}: another process is gone, or did not answer for {timeout_minutes:g} "
        f"minutes; its own message says why, if it had the time ({text[:120]})"
    )


def repair_stock_engines() -> None:
    """Makes plain Catalyst configs' engines (`catalyst.dl.CPUEngine` ...) finish loaders on accelerate >= 1.0."""
    Engine.mean_reduce_ddp_metrics = all_reduce_metrics


def forget_engine() -> None:
    """Forgets accelerate's state, so that another engine can be built in this process."""
    AcceleratorState._reset_state(reset_partial_state=False)
    PartialState._reset_state()


def close_processes() -> None:
    """`forget_engine`, and leaves the process group."""
    forget_engine()
    stop_processes()
