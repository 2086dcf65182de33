"""What a network must return, asked of a network of anybody's before the first image is read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from semseg_ref.base.errors import InputError
from semseg_ref.base.random_state import random_state, set_random_state

OWN = "catalyst_cityscapes."
LARGEST_PROBE = 97
PROBABILITY_ERROR = 1e-3
"""Of a sum over classes that is 1; bf16 has two and a half digits."""
STEP = 64
"""Sides of a probe leave the same rest as the crop's, so that whatever divides one divides the other."""


def two_heads(output: Any) -> tuple[Tensor, Tensor | None]:
    """(main, auxiliary) logits of what a network returned: that pair, or the main logits alone.

    Raises:
        TypeError: it is neither; the message says what it is.
    """
    if isinstance(output, Tensor):
        return output, None
    pair = isinstance(output, (tuple, list)) and len(output) == 2
    if pair and isinstance(output[0], Tensor) and (output[1] is None or isinstance(output[1], Tensor)):
        return output[0], output[1]
    raise TypeError(_described(output))


def _described(output: Any) -> str:
    if isinstance(output, (tuple, list)):
        return f"{type(output).__name__} of {len(output)} ({', '.join(type(part).__name__ for part in output[:4])})"
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with the keys {', '.join(map(str, list(output)[:6]))}"
    return type(output).__name__


def check_network(
    network: nn.Module, classes: int, crop: Sequence[int], aux_weight: float | None, training: bool = True
) -> None:
    """Sends two small images through a network that is none of ours, in training and in eval mode.

    Parameters, buffers, modes and random generators are afterwards what they were.

    Args:
        network: on the CPU.
        classes: K of the data.
        crop: (height, width) that it is to be trained with, in pixels.
        aux_weight: of the auxiliary loss; not 0: auxiliary logits are needed in training. None: nobody asks for them.
        training: False looks at eval mode only, for a test.

    Raises:
        InputError: it refuses the size, returns something else, another number of classes, or logits whose grid is none
            of the labels' pixels; what it must return is said.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, the _target_ returned {type(network).__name__}")
    if type(network).__module__.startswith(OWN):
        return
    name = type(network).__name__
    for train in (True, False) if training else (False,):
        mode = "training" if train else "eval"
        output, size = _probe(network, crop, train)
        expected = (
            f"expected (main, auxiliary) logits, each float [N, {classes}, h, w] for an input [N, 3, H, W], or "
            "the main logits alone with callbacks.aux_loss.weight: 0; a class of your own (--trust) can return that"
        )
        try:
            main, aux = two_heads(output)
        except TypeError as error:
            raise InputError(f"model: {name} returns {error} in {mode} mode; {expected}") from error
        if train and aux is None and aux_weight:
            raise InputError(
                f"model: {name} returns no auxiliary logits in training, and callbacks.aux_loss.weight is "
                f"{aux_weight:g}: set that to 0, or return them; {expected}"
            )
        for head, logits in (("main", main), ("auxiliary", aux)):
            if logits is not None:
                _check_logits(f"model: {name} returns {head} logits", logits, classes, size, expected)
        if train and aux is not None and aux.shape != main.shape:
            raise InputError(
                f"model: {name} returns main logits {list(main.shape)} and auxiliary ones {list(aux.shape)}; expected "
                "the same shape, since both are compared with the same labels"
            )


def _check_logits(what: str, logits: Tensor, classes: int, size: tuple[int, int], expected: str) -> None:
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
    if tuple(shape[2:]) == size:
        return
    steps = {(side - 1) / (own - 1) if own > 1 else 0.0 for side, own in zip(size, shape[2:], strict=True)}
    if len(steps) > 1 or not all(step >= 1 and step.is_integer() for step in steps):
        raise InputError(
            f"{what} of {shape[2]} x {shape[3]} for an input of {size[0]} x {size[1]}: no grid of its pixels with the "
            "corners on each other; resize them to the input in forward "
            "(torch.nn.functional.interpolate, align_corners=True)"
        )


def _probe(network: nn.Module, crop: Sequence[int], train: bool) -> tuple[Any, tuple[int, int]]:
    small = tuple(side if side <= LARGEST_PROBE else STEP + side % STEP for side in crop)
    whole = (crop[0], crop[1])
    with _unchanged(network), torch.no_grad():
        network.train(train)
        for size in dict.fromkeys((small, whole)):
            try:
                return network(torch.randn(2, 3, *size)), size
            except Exception as error:  # a network of anybody's says what it does not like in its own way
                problem = error
        raise InputError(
            f"model: {type(network).__name__} does not take images of data.crop, {whole[0]} x {whole[1]}, in "
            f"{'training' if train else 'eval'} mode: {type(problem).__name__}: {' '.join(str(problem).split())}; "
            "what it returns could not be looked at"
        ) from problem


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
