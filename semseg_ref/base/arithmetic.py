"""How a GPU computes, as far as a run decides it: settings of cuDNN, and torch's deterministic algorithms.

On a CPU none of it changes a bit.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn

CUBLAS_WORKSPACE = ":4096:8"


def set_cudnn(deterministic: bool, benchmark: bool = False) -> None:
    """Sets cuDNN for a training.

    Args:
        deterministic: only convolutions that sum in the same order at each start. The reference asks for them when it
            is seeded (`manual_seed`).
        benchmark: time the algorithms for each new size and take the fastest; off in the reference's training.
    """
    cudnn.deterministic, cudnn.benchmark = deterministic, benchmark


@contextmanager
def deterministic_algorithms(is_on: bool) -> Iterator[None]:
    """Inside the block torch takes its deterministic algorithms wherever it has them; does nothing where not `is_on`.

    Operations without one run as ever and warn. Products of matrices need a setting of cuBLAS, which is made unless
    CUBLAS_WORKSPACE_CONFIG is set; it has to be made before the process's first product on the GPU.
    """
    if not is_on:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling each new tensor only serves code that reads what it has not written, and costs a pass over the memory.
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill
