"""What stands in the place of numpy's classes while a checkpoint is read: plain numbers only.

Numpy's own unpickling takes memory layouts from the file, so it is not let in.
"""

import math
import pickle
import re
import struct
from typing import Any

import numpy as np

_NUMBER_TYPE = re.compile(r"[bifu][1248]")
CORES = ("core", "_core")
"""What numpy calls its inner package, before release 2 and since."""


class NumberType:
    """In the place of `numpy.dtype`: a plain number's type and byte order, nothing else."""

    def __init__(self, code: str, *_: Any) -> None:
        if not _NUMBER_TYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"numpy type {code!r}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"numpy byte order {state[1]!r}")
        self.order = state[1]

    def read(self, data: bytes) -> np.ndarray:
        """The numbers in `data`, in one dimension."""
        return np.frombuffer(data, dtype=self.order.replace("|", "=") + self.code)


class Array:
    """In the place of `numpy.ndarray`: nested lists of numbers."""

    values: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, number_type, is_fortran, data = state
        if not isinstance(number_type, NumberType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("numpy array of objects")
        values = number_type.read(data)
        if values.size != math.prod(shape):
            raise struct.error("numpy array of another size than its data")
        self.values = values.reshape(shape, order="F" if is_fortran else "C").tolist()


def make_array(*_: Any) -> Array:
    """In the place of `numpy.core.multiarray._reconstruct`."""
    return Array()


def make_scalar(number_type: NumberType, data: bytes) -> float | int | bool:
    """In the place of `numpy.core.multiarray.scalar`."""
    if not isinstance(number_type, NumberType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("numpy scalar of objects")
    return number_type.read(data).item()
