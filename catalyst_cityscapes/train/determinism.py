"""Which operations of a training step have no deterministic form, and what can be promised of its numbers."""

import copy
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import torch

from catalyst_cityscapes.data.training_set import data_streams
from catalyst_cityscapes.models.outputs import Outputs, outputs_of
from catalyst_cityscapes.train.context import LossCallback, TrainingRun
from semseg_ref.base.random_state import random_state, set_random_state

PROBE_IMAGES = 2
"""The fewest that PSPNet's batch norm over a single pixel can train on."""

_NAMED = re.compile(r"^(\S+) does not have a deterministic implementation")
_CUBLAS = re.compile(r"CUBLAS_WORKSPACE_CONFIG")


def nondeterministic_operations(runner: TrainingRun) -> list[str]:
    """Runs one more training step, forward and backward, on a copy of the network and notes what torch warns of.

    The copy is thrown away and the generators are put back, so that the training goes on as if nothing had been. Under
    several processes all of them must call it, since synchronised batch norm waits for the others.
    """
    state = random_state()
    was_on, was_warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    network = copy.deepcopy(runner.network)
    images, target = runner.batch["features"][:PROBE_IMAGES], runner.batch["labels"][:PROBE_IMAGES]
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings(record=True) as caught, torch.enable_grad(), python_code_as(was_on):
            warnings.simplefilter("always")
            with runner.engine.autocast():
                _loss_of(runner, outputs_of(network(images)), target).backward()
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warn_only)
        set_random_state(state)
    return operations_in([str(entry.message) for entry in caught])


def _loss_of(runner: TrainingRun, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
    component = next((each for each in runner.callbacks.values() if isinstance(each, LossCallback)), None)
    if component is not None:
        return component.losses_of(runner.criterion.forward, outputs, target, runner.resizing)["loss"]
    # A loss of somebody's own works on a whole run only: the same operations, in all likelihood.
    parts = [runner.criterion.forward(*runner.resizing(logits, target)) for logits in outputs]
    return torch.stack(parts).sum()


@contextmanager
def python_code_as(is_on: bool) -> Iterator[None]:
    """Lets torch's Python code choose its operations as if deterministic algorithms were asked for or not.

    Under them `interpolate` takes other operations on a GPU, so that the ones that a training runs, whose gradients
    add up in any order, would never be warned of. torch's C++ code, which warns, does not look here.
    """
    original = torch.are_deterministic_algorithms_enabled
    torch.are_deterministic_algorithms_enabled = lambda: is_on
    try:
        yield
    finally:
        torch.are_deterministic_algorithms_enabled = original


def operations_in(messages: list[str]) -> list[str]:
    """Names of operations in torch's warnings, each once, sorted."""
    names = {match[1] for message in messages if (match := _NAMED.match(message))}
    if any(_CUBLAS.search(message) for message in messages):
        names.add("cuBLAS matrix products (CUBLAS_WORKSPACE_CONFIG is not set)")
    return sorted(names)


def promise(runner: TrainingRun, operations: list[str]) -> tuple[str, str]:
    """`bitwise`, `numeric` or `statistical`, and why."""
    if runner.streams is None or data_streams(runner.recipe) is None:
        return "statistical", "draws are left to the generators (experiment.seed or sampling.seed_stream)"
    if runner.recipe.engine.precision in ("bf16", "fp16"):
        return "statistical", f"engine.precision is {runner.recipe.engine.precision}"
    if operations:
        return "numeric", "operations without a deterministic form ran"
    if runner.engine.device.type != "cpu":
        if runner.recipe.engine.deterministic:
            return "numeric", "all operations had a deterministic form, but the same bits are only proven on CPUs"
        return "numeric", "operations on this device may be computed in another way at each start"
    return "bitwise", "on this machine, with these versions, threads and processes"


def ledger(runner: TrainingRun, operations: list[str]) -> dict[str, Any]:
    """What goes into `determinism.json`."""
    kind, why = promise(runner, operations)
    return {
        "promise": kind,
        "why": why,
        "operations_without_deterministic_form": operations,
        "device": str(runner.engine.device.type),
        "precision": runner.recipe.engine.precision,
        "processes": runner.engine.num_processes,
        "seed": runner.recipe.experiment.seed,
        "seed_stream": runner.recipe.sampling.seed_stream,
        "threads": {
            "torch": torch.get_num_threads(),
            "torch_interop": torch.get_num_interop_threads(),
            "opencv": cv2.getNumThreads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "flags": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        },
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
