"""Large buffers that are used again: memory that is new to the process costs more than the arithmetic on it."""

import math
import threading
from collections.abc import Sequence

import numpy as np
import torch


class BufferPool:
    """Buffers of one device, lent and taken back; safe between threads.

    A buffer that is too small for a request is dropped when a larger one has to be made, so the pool never holds more
    buffers than were lent at one time, whatever the sizes of the images.

    Args:
        device: where the buffers are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._free: list[torch.Tensor] = []
        self._lent: dict[int, torch.Tensor] = {}
        self._lock = threading.Lock()

    @property
    def allocated_bytes(self) -> int:
        """Bytes of all buffers, lent or free."""
        with self._lock:
            return sum(buffer.numel() for buffer in [*self._free, *self._lent.values()])

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A contiguous tensor with arbitrary content; hand it back with `give`."""
        size = max(math.prod(shape), 1) * dtype.itemsize
        with self._lock:
            fitting = [buffer for buffer in self._free if buffer.numel() >= size]
            if fitting:
                buffer = min(fitting, key=torch.Tensor.numel)
                self._remove(buffer)
            elif self._free:
                self._remove(max(self._free, key=torch.Tensor.numel))
        if not fitting:
            buffer = self._allocate(size)
        tensor = buffer[:size].view(dtype)[: math.prod(shape)].view(tuple(shape))
        with self._lock:
            self._lent[tensor.data_ptr()] = buffer
        return tensor

    def give(self, tensor: torch.Tensor) -> None:
        """Takes back what `take` returned; its content may be overwritten from now on."""
        with self._lock:
            self._free.append(self._lent.pop(tensor.data_ptr()))

    def _allocate(self, size: int) -> torch.Tensor:
        if self.device.type == "cpu":
            # numpy asks for huge pages, which torch does not: the first touch is quicker, and so is every stride.
            return torch.from_numpy(np.empty(size, np.uint8))
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def _remove(self, buffer: torch.Tensor) -> None:
        self._free = [other for other in self._free if other is not buffer]
