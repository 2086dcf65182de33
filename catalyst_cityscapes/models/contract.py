"""What a network must return, asked of a network of anybody's before the first image is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from catalyst_cityscapes.models.outputs import outputs_of
from catalyst_cityscapes.models.resizing import Resizing, grid_step
from catalyst_cityscapes.models.segmenter import Segmenter
from semseg_ref.base.errors import InputError
from semseg_ref.base.random_state import random_state, set_random_state

LARGEST_PROBE = 97
PROBABILITY_ERROR = 1e-3
"""Of a sum over classes that is 1; bf16 has two and a half digits."""
STEP = 64
"""Sides of a probe leave the same rest as the crop's, so that whatever divides one divides the other."""


def check_network(
    network: nn.Module,
    classes: int,
    crop: Sequence[int],
    weights: Sequence[float] | None,
    resizing: Resizing | None = None,
) -> list[str]:
    """Sends two small images through a network that is none of ours, in training and in eval mode.

    Parameters, buffers, modes and random generators are afterwards what they were.

    Args:
        network: on the CPU.
        classes: K of the data.
        crop: (height, width) that it is to be trained with, in pixels.
        weights: of the auxiliary losses, one a head. None: nobody asks for them.
        resizing: how logits and labels are to meet; None looks at eval mode only, for a test.

    Returns:
        Names of the parameters that got no gradient in training: of layers that none of the outputs depends on, or that
        are left out at random.

    Raises:
        InputError: it refuses the size, returns something else, another number of classes or of auxiliary heads, or
            logits that cannot meet the labels; what it must return is said.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, the _target_ returned {type(network).__name__}")
    if isinstance(network, Segmenter) and hasattr(network, "aux") and (weights is None or len(weights) == 1):
        return []
    unused: list[str] = []
    name = type(network).__name__
    expected = (
        f"expected logits, float [N, {classes}, h, w] for an input [N, 3, H, W], or a tuple of them, the main ones "
        "first, then one of each auxiliary head; a class of your own (--trust) can return that"
    )
    for train in (True, False) if resizing is not None else (False,):
        mode = "training" if train else "eval"
        returned, size, without_gradient = _probe(network, crop, train)
        unused = without_gradient if train else unused
        try:
            outputs = outputs_of(returned)
        except TypeError as error:
            raise InputError(f"model: {name} returns {error} in {mode} mode; {expected}") from error
        if train and weights is not None:
            _check_heads(name, len(outputs) - 1, weights)
        for index, logits in enumerate(outputs if train else outputs[:1]):
            head = "main" if index == 0 else "auxiliary"
            _check_logits(f"model: {name} returns {head} logits", logits, classes, expected)
            if train and resizing.resized == "labels":
                _check_grid(f"model: {name} returns {head} logits", tuple(logits.shape[2:]), size)
    return unused


def _check_heads(name: str, heads: int, weights: Sequence[float]) -> None:
    given = ", ".join(f"{weight:g}" for weight in weights)
    if heads == 0 and any(weights):
        raise InputError(
            f"model: {name} returns no auxiliary logits in training, and callbacks.aux_loss.weight is {given}: set "
            "that to 0, or return them after the main ones; models.with_auxiliary_head adds one to any "
            "network"
        )
    if heads and heads != len(weights):
        raise InputError(
            f"model: {name} returns the logits of {heads} auxiliary head(s) in training, and callbacks.aux_loss.weight "
            f"has {len(weights)} ({given}): expected a list of {heads}, one a head"
        )


def _check_logits(what: str, logits: Tensor, classes: int, expected: str) -> None:
    shape = list(logits.shape)
    if logits.ndim != 4 or not logits.is_floating_point() or shape[0] != 2:
        raise InputError(f"{what} {logits.dtype} {shape} for two images; {expected}")
    if shape[1] != classes:
        raise InputError(f"{what} of {shape[1]} classes, and data.classes is {classes}; {expected}")
    if logits.min() > 0 and (logits.max() < 1 or (logits.sum(1) - 1).abs().max() < PROBABILITY_ERROR):
        raise InputError(
            f"{what} that all lie between 0 and 1, so probabilities: the loss and the test would take a softmax of "
            "them again; return logits (segmentation_models_pytorch: activation: null)"
        )


def _check_grid(what: str, own: tuple[int, int], size: tuple[int, int]) -> None:
    if own != size and grid_step(size, own) is None:
        raise InputError(
            f"{what} of {own[0]} x {own[1]} for an input of {size[0]} x {size[1]}: no grid of its pixels with the "
            "corners on each other, as callbacks.aux_loss.resize: labels needs; set that to logits"
        )


def _probe(network: nn.Module, crop: Sequence[int], train: bool) -> tuple[Any, tuple[int, int], list[str]]:
    small = tuple(side if side <= LARGEST_PROBE else STEP + side % STEP for side in crop)
    whole = (crop[0], crop[1])
    with _unchanged(network), torch.set_grad_enabled(train):
        network.train(train)
        for size in dict.fromkeys((small, whole)):
            try:
                returned = network(torch.randn(2, 3, *size))
                return returned, size, _without_gradient(network, returned) if train else []
            except Exception as error:  # a network of anybody's says what it does not like in its own way
                problem = error
        raise InputError(
            f"model: {type(network).__name__} does not take images of data.crop, {whole[0]} x {whole[1]}, in "
            f"{'training' if train else 'eval'} mode: {type(problem).__name__}: {' '.join(str(problem).split())}; "
            "what it returns could not be looked at"
        ) from problem


def _without_gradient(network: nn.Module, returned: Any) -> list[str]:
    try:
        heads = [logits.sum() for logits in outputs_of(returned) if logits.requires_grad]
    except TypeError:  # what it returns instead is told by the caller
        return []
    if heads:  # none where everything is frozen
        torch.autograd.backward(heads)
    names = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    network.zero_grad(set_to_none=True)
    return names


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    modes = [(module, module.training) for module in network.modules()]
    state = random_state()
    try:
        yield
    finally:
        for name, buffer in network.named_buffers():
            if name in before:
                buffer.copy_(before[name])
        for module, mode in modes:
            module.training = mode
        set_random_state(state)
