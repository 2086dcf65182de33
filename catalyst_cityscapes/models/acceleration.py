"""What makes a training step faster or smaller without changing the recipe's mathematics: the `engine` section's nodes.

Each is a pure function on a bare network that can be called alone; the runner applies those that a recipe asks for.
"""

import functools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from semseg_ref.base.console import warn
from semseg_ref.base.errors import OptionError
from semseg_ref.model.pspnet import resize_bilinear

MemoryFormat = Literal["contiguous", "channels_last"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def apply_memory_format(model: nn.Module, memory_format: MemoryFormat) -> nn.Module:
    """Lays convolution weights out in a memory format; values and state dict stay the same.

    Numeric: other kernels run, so sums are rounded in another order.
    """
    return model.to(memory_format=FORMATS[memory_format])


def compile_network(model: nn.Module, mode: CompileMode = "default") -> nn.Module:
    """Compiles a network's forward and backward in place (`torch.compile`); parameter names stay the same.

    Numeric: fused kernels round otherwise. `reduce-overhead` and `max-autotune` replay CUDA graphs on a GPU.

    Raises:
        OptionError: the network runs on a CPU and there is no C++ compiler, which generated CPU code needs.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise OptionError("engine.compile: needs a C++ compiler on CPUs, and none of c++, g++, clang++ is on the path")
    model.compile(mode=mode)
    return model


def compile_loss(criterion: nn.Module) -> nn.Module:
    """Compiles a loss in place, so that softmax, loss and their gradients are few passes over the logits.

    Numeric. Never as a CUDA graph, since it runs twice a step and its first result is still needed in the second.
    """
    criterion.compile(mode="default")
    return criterion


def interpolation_matrix(old: int, new: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Weights [new, old] of a linear resize with aligned corners; at most two of a row are not 0."""
    # In the arithmetic of torch's own kernel: float32, unless the values are float64.
    step = torch.tensor((old - 1) / (new - 1) if new > 1 else 0.0, dtype=dtype, device=device)
    position = torch.arange(new, dtype=dtype, device=device) * step
    lower = position.floor().clamp(max=old - 1)
    share, columns = position - lower, torch.arange(old, device=device)
    upper = (lower + 1).clamp(max=old - 1)
    return torch.where(columns == lower[:, None], 1 - share[:, None], 0) + torch.where(
        columns == upper[:, None], share[:, None], 0
    )


def resize_by_products(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """`resize_bilinear` as two products of matrices: on a GPU its gradient needs no atomic additions.

    Numeric: the same weights, summed in another order; at most 1e-6 of the largest value, of the gradient 2e-6. A value
    that is no number spreads over its whole row and column. Always in float32 (float64 in float64), which is what a
    GPU's autocast makes of a resize too; under tf32 the products are TF32's.

    Args:
        x: float [N, C, h, w].
        size: height and width.

    Returns:
        float32 or float64 [N, C, *size], contiguous.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        rows, columns = (
            interpolation_matrix(old, new, x.device, x.dtype) for old, new in zip(x.shape[-2:], size, strict=True)
        )
        # The second product, which is most of the work, is one of two matrices, and so is its gradient.
        return (rows @ x) @ columns.T


def _resize_in_training(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    # Only a gradient gains by it, and a validation is to see what the test will see.
    return resize_by_products(x, size) if torch.is_grad_enabled() else resize_bilinear(x, size)


def use_products_for_resizes(model: nn.Module) -> nn.Module:
    """Lets a network resize by `resize_by_products` wherever a gradient is taken; warns where it has no `resize`."""
    resizing = [module for module in model.modules() if hasattr(module, "resize")]
    if not resizing:
        warn(f"engine.resize: {type(model).__name__} has no resize that can be exchanged; it trains with its own")
    for module in resizing:
        module.resize = _resize_in_training
    return model


def checkpoint_activations(model: nn.Module, children: tuple[str, ...]) -> nn.Module:
    """Recomputes the activations of some children in the backward pass instead of keeping them.

    Bitwise: the recomputation sees the same dropout masks, and batch norm counts each batch once.

    Args:
        model: a bare network.
        children: names of child modules. A `Sequential` of blocks is recomputed block by block, so that the
            activations of one block at a time are in memory; anything else as a whole.

    Raises:
        OptionError: the network has no such child.
    """
    for name in children:
        child = getattr(model, name, None)
        if child is None:
            raise OptionError(f"engine.activation_checkpointing: {type(model).__name__} has no child '{name}'")
        is_stage = isinstance(child, nn.Sequential) and all(any(True for _ in part.children()) for part in child)
        for segment in child if is_stage else (child,):
            segment.forward = _Recomputed(segment)
    return model


class _Recomputed:
    """The forward of a segment whose activations are recomputed; a class, so that the module can still be copied."""

    def __init__(self, segment: nn.Module) -> None:
        self.segment = segment
        self.inner = segment.forward

    def __call__(self, *inputs: Any) -> Any:
        if not (self.segment.training and torch.is_grad_enabled()):
            return self.inner(*inputs)
        contexts = functools.partial(_forward_and_recomputation, self.segment)
        return checkpoint(self.inner, *inputs, use_reentrant=False, context_fn=contexts)


def _forward_and_recomputation(segment: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _unchanged_running_statistics(segment)


@contextmanager
def _unchanged_running_statistics(segment: nn.Module) -> Iterator[None]:
    # The forward pass has counted this batch already. Turning the statistics off would save other tensors than it did,
    # which torch refuses; momentum 0 leaves the means as they are. The count is put back, since a recomputation may
    # stop before it reaches the last layer.
    norms = [m for m in segment.modules() if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
