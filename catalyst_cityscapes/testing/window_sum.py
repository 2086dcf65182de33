"""The windows' class probabilities, summed over an image at one scale.

The control arm makes six passes over arrays of 40 to 300 MB for every window. Here a window goes through softmax,
mirror, mean and sum in strips of rows that stay in the processor's cache; every value has the same operations in the
same order.
"""

import math
from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F

from catalyst_cityscapes.testing.buffers import BufferPool
from catalyst_cityscapes.testing.windows import PreparedScale

# For one thread's share of a processor's second-level cache and a little more.
STRIP_BYTES = 2 << 20
# On a GPU a strip only bounds the temporary memory.
GPU_STRIP_BYTES = 128 << 20
# The widest vector of a CPU holds 16 floats: strips that start at a multiple of it split the softmax where torch does.
VECTOR = 16


def strip_rows(row_bytes: int, rows: int, device: torch.device) -> int:
    """Rows of a strip: a multiple of 16, as many as the cache takes, at most `rows`."""
    # Every strip makes torch's threads wait for each other, so more threads get larger strips.
    limit = STRIP_BYTES * torch.get_num_threads() if device.type == "cpu" else GPU_STRIP_BYTES
    return min(max(limit // max(row_bytes, 1) // VECTOR * VECTOR, VECTOR), rows)


@cache
def strips_keep_bits(images: int, height: int, width: int, rows: int, threads: int) -> bool:
    """Whether torch's softmax of strips has the bits of its softmax of the whole, on the CPU with `threads` threads.

    torch rounds the exponential of the last few pixels of a thread's share differently from the rest. Where the shares
    end depends on the shape and on the number of threads, so it is tried out, on random logits.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 4, height, width, generator=generator) * 4
    whole = F.softmax(logits, dim=1)
    return all(
        torch.equal(F.softmax(logits[:, :, y : y + rows], dim=1), whole[:, :, y : y + rows])
        for y in range(0, height, rows)
    )


class WindowSum:
    """Sums of the windows' probabilities of one `PreparedScale`.

    Args:
        scale: the image at its scale.
        classes: number of classes K.
        dtype: of the sums: float64 as in the control arm, or float32.
        pool: where the memory comes from; `release` gives it back.
    """

    def __init__(self, scale: PreparedScale, classes: int, dtype: torch.dtype, pool: BufferPool) -> None:
        self.region = scale.region
        self.remaining = len(scale.windows)
        self.classes = classes
        self.dtype = dtype
        self._pool = pool
        height, width = scale.pixels.shape[1:]
        self.total = pool.take((classes, height, width), dtype)
        self.total.zero_()
        count = torch.zeros(height, width, dtype=dtype)
        for top, bottom, left, right in scale.windows:
            count[top:bottom, left:right] += 1
        self.count = count.to(pool.device)

    def add(self, logits: torch.Tensor, window: tuple[int, int, int, int]) -> None:
        """Adds a window's probabilities: the softmax, averaged with that of the mirror image.

        Nothing is added when this raises torch.OutOfMemoryError.

        Args:
            logits: float [1 or 2, K, h', w']; the second is the mirror image's. Another size than the window's is
                resized, bilinear with aligned corners.
            window: (top, bottom, left, right).
        """
        top, bottom, left, right = window
        height, width = bottom - top, right - left
        if logits.shape[2:] != (height, width):
            logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=True)
        images, device = len(logits), self._pool.device
        rows = strip_rows(images * self.classes * width * 4, height, device)
        if device.type != "cpu":
            rows = height
        elif (
            self.dtype == torch.float64
            and rows < height
            and not strips_keep_bits(images, height, width, rows, torch.get_num_threads())
        ):
            self._add_strips(F.softmax(logits.float(), dim=1), window, rows, is_softmax=True)
            return
        self._add_strips(logits, window, rows, is_softmax=False)

    def _add_strips(self, values: torch.Tensor, window: tuple[int, int, int, int], rows: int, is_softmax: bool) -> None:
        top, bottom, left, right = window
        height, width = bottom - top, right - left
        images, pool = len(values), self._pool
        shape = (self.classes, rows, width)
        strip = None if is_softmax else pool.take((images, *shape), torch.float32)
        mean = pool.take(shape, torch.float32) if images == 2 else None
        wide = pool.take(shape, self.dtype) if self.dtype == torch.float64 else None
        for y in range(0, height, rows):
            r = min(rows, height - y)
            part = values[:, :, y : y + r]
            if strip is not None:
                out = _leading(strip, (images, self.classes, r, width))
                part = torch.softmax(part.float(), dim=1, out=out)
            average = part[0]
            if mean is not None:
                # Halving is exact either way, so a product has the bits of the control arm's quotient.
                average = torch.add(average, part[1].flip(2), out=_leading(mean, (self.classes, r, width))).mul_(0.5)
            if wide is not None:
                average = _leading(wide, (self.classes, r, width)).copy_(average)
            self.total[:, top + y : top + y + r, left:right].add_(average)
        for buffer in (strip, mean, wide):
            if buffer is not None:
                pool.give(buffer)

    def mean_strips(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, torch.Tensor]]:
        """The mean probabilities of the image's own region, strip by strip.

        Args:
            first, last: range of classes; default all.

        Yields:
            (top row, [classes, rows, w] in the sums' dtype); the memory is used again for the next strip.
        """
        top, left, height, width = self.region
        classes = (self.classes if last is None else last) - first
        rows = strip_rows(classes * width * self.dtype.itemsize, height, self._pool.device)
        buffer = self._pool.take((classes, rows, width), self.dtype)
        try:
            for y in range(0, height, rows):
                r = min(rows, height - y)
                area = (slice(top + y, top + y + r), slice(left, left + width))
                out = _leading(buffer, (classes, r, width))
                yield y, torch.div(self.total[first:last][(slice(None), *area)], self.count[area], out=out)
        finally:
            self._pool.give(buffer)

    def release(self) -> None:
        """Gives the memory back."""
        self._pool.give(self.total)


def _leading(buffer: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The buffer's first values as a contiguous tensor of a shape that may be smaller than its own."""
    return buffer.view(-1)[: math.prod(shape)].view(shape)
