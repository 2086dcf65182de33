"""Arguments that YAML has no values for: tensors, as lists of numbers (one weight a class), and dtypes, as names."""

import inspect
import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import torch
from torch import nn
from torch.nn.modules.loss import _Loss

from semseg_ref.base.errors import InputError, did_you_mean

CLASS_WEIGHTS = ("weight", "pos_weight", "class_weights")
SHIFT = 1000.0


def tensor_arguments(target: Callable) -> set[str]:
    """Names of the arguments that take a tensor, by their annotations; a loss's class weights also without one."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = get_type_hints(function)
        names = list(inspect.signature(function).parameters)
    except (AttributeError, NameError, TypeError, ValueError):  # annotations that cannot be read
        return set()
    found = {name for name in names if _takes_tensor(hints.get(name))}
    if inspect.isclass(target) and issubclass(target, _Loss):
        found |= {name for name in names if name in CLASS_WEIGHTS and name not in hints}
    return found


def dtype_arguments(target: Callable) -> set[str]:
    """Names of the arguments that take a `torch.dtype`, by their annotations."""
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, ValueError):  # annotations that cannot be read
        return set()
    return {name for name, hint in hints.items() if hint is torch.dtype or torch.dtype in get_args(hint)}


def _dtype(name: str, value: str) -> torch.dtype:
    found = getattr(torch, value.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        names = [each for each in dir(torch) if isinstance(getattr(torch, each), torch.dtype)]
        raise InputError(f"{name}: no dtype of torch '{value}'{did_you_mean(value, names)}")
    return found


def _takes_tensor(hint: Any) -> bool:
    return hint is torch.Tensor or torch.Tensor in get_args(hint)


def check_tensor_arguments(
    path: tuple, node: dict[str, Any], target: Callable, classes: int, error_at: Callable[..., InputError]
) -> None:
    """Checks the lists that become tensors; class weights are one finite number >= 0 a class, not all of them 0.

    Raises:
        InputError: `error_at` of the argument's key path.
    """
    # segmentation_models_pytorch makes a tensor of a list itself, and does not look at the numbers.
    lists = {name for name in ("class_weights",) if isinstance(node.get(name), list)}
    for name in (tensor_arguments(target) & node.keys()) | lists:
        value = node[name]
        if value is None or isinstance(value, dict):  # a node of its own
            continue
        numbers = _numbers(value)
        wanted = f"a list of {classes} numbers, one a class" if name in CLASS_WEIGHTS else "a list of numbers"
        if numbers is None:
            raise error_at((*path, name), f"expected {wanted}, got {value!r}")
        if name not in CLASS_WEIGHTS:
            continue
        if len(value) != classes:
            raise error_at((*path, name), f"has {len(value)} numbers, expected {classes}, one a class (data.classes)")
        if not all(math.isfinite(number) and number >= 0 for number in numbers) or not any(numbers):
            raise error_at((*path, name), f"expected finite numbers >= 0, not all of them 0, got {value!r}")


def _numbers(value: Any) -> list[float] | None:
    """All numbers of a nested list of equal lengths; None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        return [float(item) for item in value]
    parts = [_numbers(item) for item in value]
    if any(part is None for part in parts) or len({len(item) for item in value}) > 1:
        return None
    return [number for part in parts for number in part]


def with_tensors(value: Any, locate: Callable[[str], Callable]) -> Any:
    """A checked node with float32 tensors for the lists that its targets take as tensors, and dtypes for their names.

    Args:
        value: the node, and whatever is inside of it.
        locate: what a `_target_` stands for.

    Raises:
        InputError: no dtype has such a name.
    """
    if isinstance(value, list):
        return [with_tensors(item, locate) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: with_tensors(inner, locate) for key, inner in value.items()}
    if "_target_" not in value:
        return result
    target = locate(value["_target_"])
    for name in tensor_arguments(target) & value.keys():
        if isinstance(value[name], list):
            result[name] = torch.tensor(value[name], dtype=torch.float32)
    for name in dtype_arguments(target) & value.keys():
        if isinstance(value[name], str):
            result[name] = _dtype(name, value[name])
    return result


def check_criterion(criterion: nn.Module, classes: int, ignore_index: int) -> None:
    """One forward and backward pass of a loss on small logits, before anything is written.

    Args:
        criterion: `(logits float [N, K, h, w], labels int64 [N, h, w]) -> scalar`.
        classes, ignore_index: of the labels; a third of the pixels is ignored, in the others each class occurs.

    Raises:
        InputError: it raises, gives no single number, or one that is not finite or has no gradient, or takes
            log-probabilities for what networks give (NLLLoss).
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 3, classes, generator=generator, requires_grad=True)
    labels = torch.arange(6 * classes).reshape(2, 3, classes) % classes
    labels[:, 0] = ignore_index
    name = type(criterion).__name__
    takes = f"criterion: {name} does not take logits [N, {classes}, h, w] and labels [N, h, w] with ignored pixels"
    try:
        loss, shifted = criterion(logits, labels), criterion(logits + SHIFT, labels)
    except Exception as error:  # a loss of anybody's says what it does not like in its own way
        raise InputError(f"{takes} ({ignore_index}): {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        found = list(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise InputError(f"criterion: {name} gives {found}, expected one number; is its reduction 'none'?")
    if not loss.requires_grad or not torch.isfinite(loss):
        raise InputError(
            f"criterion: {name} gives {loss.item():g} on random logits, expected a finite number with a gradient"
        )
    if shifted < loss - SHIFT / 100:  # a hundredth, for one that has a small weight in a sum
        raise InputError(
            f"criterion: {name} falls without end when all logits grow alike: it takes log-probabilities, and networks "
            "give logits; torch.nn.CrossEntropyLoss is the same with the softmax inside"
        )
