"""A network as the `fast` tester runs it: batch norm as a part of the convolutions before it, in a memory format."""

import copy
from collections import Counter

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from catalyst_cityscapes.models.acceleration import MemoryFormat, apply_memory_format
from catalyst_cityscapes.models.outputs import outputs_of
from catalyst_cityscapes.models.random_at_test import seeded_draws
from semseg_ref.tester import strict_fp32

FOLDING_BOUND = 1e-4
"""Largest change of a logit by folding, relative to the largest logit."""


def fast_network(model: nn.Module, window: torch.Tensor, memory_format: MemoryFormat = "contiguous") -> nn.Module:
    """A copy of a network for testing; the network itself where there is nothing to change.

    Numeric: a folded convolution rounds weights that are products, and saves a pass over its result.

    Args:
        model: in eval mode.
        window: float32 [1, 3, H, W] that the network takes; by its way through the network it is seen which
            convolution a batch norm follows, and whether the folded network says the same.
        memory_format: of the convolutions' weights.
    """
    folded = fold_batch_norm(model, window)
    if memory_format == "contiguous":
        return folded
    return apply_memory_format(copy.deepcopy(model) if folded is model else folded, memory_format)


@torch.no_grad()
def fold_batch_norm(model: nn.Module, window: torch.Tensor) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions that they directly follow; arguments as above.

    The network itself where it has no such pair, or where the copy would say something else: a convolution's result
    may have other readers than its batch norm.
    """
    pairs = _pairs(model, window)
    if not pairs:
        return model
    folded = copy.deepcopy(model)
    for conv_name, norm_name in pairs:
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        folded.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        folded.set_submodule(norm_name, nn.Identity())
    with strict_fp32():
        expected, found = (_logits_of(network, window) for network in (model, folded))
    is_same = (found - expected).abs().max() <= FOLDING_BOUND * expected.abs().max()
    return folded if bool(is_same) else model


def _pairs(model: nn.Module, window: torch.Tensor) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) that each ran once, the second on the first's very result."""
    calls: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    handles = []

    def mark(name: str):  # noqa: ANN202 - a hook
        def hook(_: nn.Module, __: tuple, output: torch.Tensor) -> None:
            calls[name] += 1
            output.made_by = name

        return hook

    def match(name: str):  # noqa: ANN202 - a hook
        def hook(_: nn.Module, inputs: tuple) -> None:
            calls[name] += 1
            maker = getattr(inputs[0], "made_by", None)
            if maker is not None:
                found.append((maker, name))

        return hook

    for name, module in model.named_modules(remove_duplicate=False):
        if type(module) is nn.Conv2d:
            handles.append(module.register_forward_hook(mark(name)))
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(match(name)))
    try:
        if any(type(module) is nn.BatchNorm2d for module in model.modules()):
            _logits_of(model, window)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in found if calls[pair[0]] == calls[pair[1]] == 1]


def _logits_of(network: nn.Module, window: torch.Tensor) -> torch.Tensor:
    # A network that draws at test has to draw the same numbers each time here, and none of the test's own.
    with seeded_draws(network, 0):
        return outputs_of(network(window))[0].float()
