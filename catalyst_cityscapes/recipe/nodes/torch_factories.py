"""torch's functions that make a tensor out of numbers, as targets of a recipe.

`_target_: torch.zeros` stands for `zeros` of this module: torch's function, with the signature that a builtin does not
tell, dtypes by name, and a limit on the size, since a recipe that came by mail must not exhaust the memory. None of
them draws random numbers, so that no recipe moves the generators.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semseg_ref.base.errors import OptionError, did_you_mean

MOST_NUMBERS = 2**20
"""Numbers in one tensor: 4 MiB of float32, far above one a class and one a pair of classes."""
DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}


def tensor(data: Any, dtype: str | None = None) -> Tensor:
    """torch.tensor of a number or of nested lists of numbers."""
    return _made(lambda: torch.tensor(_numbers(data), dtype=_dtype(dtype)))


def as_tensor(data: Any, dtype: str | None = None) -> Tensor:
    """torch.as_tensor; of lists, the same as `tensor`."""
    return tensor(data, dtype)


def zeros(size: int | list[int], dtype: str | None = None) -> Tensor:
    """torch.zeros."""
    return _made(lambda: torch.zeros(_size(size), dtype=_dtype(dtype)))


def ones(size: int | list[int], dtype: str | None = None) -> Tensor:
    """torch.ones."""
    return _made(lambda: torch.ones(_size(size), dtype=_dtype(dtype)))


def full(size: int | list[int], fill_value: bool | int | float, dtype: str | None = None) -> Tensor:
    """torch.full."""
    return _made(lambda: torch.full(_size(size), fill_value, dtype=_dtype(dtype)))


def eye(n: int, m: int | None = None, dtype: str | None = None) -> Tensor:
    """torch.eye."""
    rows, columns = _size([n, n if m is None else m])
    return _made(lambda: torch.eye(rows, columns, dtype=_dtype(dtype)))


def arange(
    start: int | float = 0, end: int | float | None = None, step: int | float = 1, dtype: str | None = None
) -> Tensor:
    """torch.arange; as there, one bound alone is the end."""
    first, last = (0, start) if end is None else (start, end)
    try:
        count = (last - first) / step
    except (OverflowError, ZeroDivisionError):
        count = math.inf
    if not count <= MOST_NUMBERS:
        raise OptionError(
            f"expected at most {MOST_NUMBERS} numbers from {first} to {last} by {step}, got {count:g} of them"
        )
    return _made(lambda: torch.arange(first, last, step, dtype=_dtype(dtype)))


def linspace(start: int | float, end: int | float, steps: int, dtype: str | None = None) -> Tensor:
    """torch.linspace."""
    _check_steps(steps)
    return _made(lambda: torch.linspace(start, end, steps, dtype=_dtype(dtype)))


def logspace(
    start: int | float, end: int | float, steps: int, base: int | float = 10.0, dtype: str | None = None
) -> Tensor:
    """torch.logspace."""
    _check_steps(steps)
    return _made(lambda: torch.logspace(start, end, steps, base, dtype=_dtype(dtype)))


def is_factory(target: Callable) -> bool:
    """Whether what a `_target_` stands for is one of these."""
    return target.__module__ == __name__


def factory_problem(target: Callable, arguments: dict[str, Any]) -> str | None:
    """What one of these has against its arguments, None where it takes them. Makes the tensor to find out."""
    try:
        target(**arguments)
    except OptionError as error:
        return str(error)
    return None


def _made(make: Callable[[], Tensor]) -> Tensor:
    try:
        return make()
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise OptionError(" ".join(str(error).split())) from error


def _check_steps(steps: int) -> None:
    if not 0 <= steps <= MOST_NUMBERS:
        raise OptionError(f"steps: expected 0 to {MOST_NUMBERS}, got {steps}")


def _size(size: int | list[int]) -> list[int]:
    sides = [size] if isinstance(size, int) else size
    if any(side < 0 for side in sides):
        raise OptionError(f"size: expected sides >= 0, got {size!r}")
    if (count := math.prod(sides)) > MOST_NUMBERS:
        raise OptionError(f"size: expected at most {MOST_NUMBERS} numbers, got {size!r}, {count} of them")
    return sides


def _numbers(data: Any) -> Any:
    if isinstance(data, list):
        return [_numbers(item) for item in data]
    if not isinstance(data, (bool, int, float)):
        raise OptionError(f"data: expected a number or lists of numbers, got {data!r}")
    return data


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    short = name.removeprefix("torch.")
    if short not in DTYPES:
        raise OptionError(f"dtype: got {name!r}{did_you_mean(short, DTYPES)}")
    return DTYPES[short]
