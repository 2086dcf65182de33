"""A batch's way to the device: on a stream of its own, so that no copy waits for the step before it."""

from typing import Literal

import torch
from torch.utils.data import default_collate

from semseg_ref.base.errors import DataError

Transfer = Literal["plain", "overlapped"]
Sample = tuple[torch.Tensor, torch.Tensor]


def collate_narrow(samples: list[Sample]) -> list[torch.Tensor]:
    """A batch whose labels are bytes: an eighth of what is sent between processes, pinned and copied.

    Args:
        samples: (image, label) with labels 0..255.

    Raises:
        DataError: another label.
    """
    images, labels = zip(*samples, strict=True)
    for label in labels:
        smallest, largest = (int(value) for value in torch.aminmax(label))
        if smallest < 0 or largest > 255:
            raise DataError(f"engine.transfer: labels {smallest} to {largest} are no bytes; use 'plain'")
    return [default_collate(list(images)), default_collate([label.to(torch.uint8) for label in labels])]


class Copier:
    """Copies to a device; several calls in a step are in order.

    Args:
        device: where to.
        transfer: `plain` copies in the step's own order, `overlapped` on a GPU beside the step before it: the loop is
            ahead of the GPU, so that the copy is done when the step before is. The values are the same.
    """

    def __init__(self, device: torch.device, transfer: Transfer = "plain") -> None:
        self.device = device
        has_own = transfer == "overlapped" and device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if has_own else None

    def __call__(
        self, values: torch.Tensor, memory_format: torch.memory_format = torch.preserve_format
    ) -> torch.Tensor:
        """The values on the device, ready for what is asked of it next."""
        if self._stream is None:
            return values.to(self.device, non_blocking=True, memory_format=memory_format)
        with torch.cuda.stream(self._stream):
            moved = values.to(self.device, non_blocking=True, memory_format=memory_format)
        step = torch.cuda.current_stream(self.device)
        step.wait_stream(self._stream)
        # The memory belongs to the other stream; it must not be used again before the step is through with it.
        moved.record_stream(step)
        return moved
