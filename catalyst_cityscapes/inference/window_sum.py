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

from catalyst_cityscapes.inference.buffers import BufferPool
from catalyst_cityscapes.inference.resizing import resize_bilinear
from catalyst_cityscapes.inference.row_threads import in_row_chunks
from catalyst_cityscapes.inference.windows import PreparedScale

# For one thread's share of a processor's second-level cache and a little more.
STRIP_BYTES = 2 << 20
# On a GPU a strip only bounds the temporary memory.
GPU_STRIP_BYTES = 128 << 20
# The widest vector of a CPU holds 16 floats: strips that start at a multiple of it split the softmax where torch does.
VECTOR = 16


def strip_rows(row_bytes: int, rows: int, device: torch.device) -> int:
    """Rows of a strip: a multiple of 16, as many as the cache takes, at most `rows`."""
    limit = STRIP_BYTES if device.type == "cpu" else GPU_STRIP_BYTES
    return min(max(limit // max(row_bytes, 1) // VECTOR * VECTOR, VECTOR), rows)


@cache
def _telling_logits(threads: int) -> torch.Tensor | None:
    """Two logits whose softmax shows whether torch took its vector or its scalar code; None where both agree."""
    logits = 4 * torch.randn(2, 4096 * VECTOR * threads, generator=torch.Generator().manual_seed(0))
    vector = F.softmax(logits[None, :, None], dim=1)[0, :, 0]
    scalar = F.softmax(logits.T[:, :, None, None], dim=1)[:, :, 0, 0].T
    different = (vector != scalar).any(dim=0).nonzero()
    return logits[:, int(different[0])] if len(different) else None


@cache
def strips_keep_bits(images: int, height: int, width: int, rows: int, threads: int) -> bool:
    """Whether torch's softmax of strips has the bits of its softmax of the whole, on the CPU with `threads` threads.

    torch's vector code rounds the exponential differently from its scalar code, which does the last few pixels of a
    thread's share. Where the shares end depends on the shape and on the number of threads, so it is tried out.
    """
    telling = _telling_logits(threads)
    if telling is None:
        return True
    logits = telling[None, :, None, None].expand(images, 2, height, width).contiguous()
    whole, strips = F.softmax(logits, dim=1), torch.empty_like(logits)

    def work(begin: int, end: int) -> None:
        for y in range(begin, end, rows):
            strips[:, :, y : min(y + rows, end)] = F.softmax(logits[:, :, y : min(y + rows, end)], dim=1)

    in_row_chunks(work, height, rows, threads)
    return torch.equal(strips, whole)


class WindowSum:
    """Sums of the windows' probabilities, or logits, of one `PreparedScale`.

    Args:
        scale: the image at its scale.
        classes: number of classes K.
        dtype: of the sums: float64 as in the control arm, or float32.
        pool: where the memory comes from; `release` gives it back.
        align_corners: how logits of another size are brought to the window's; the network says it.
        softmax: sum probabilities; False sums logits.
    """

    def __init__(
        self,
        scale: PreparedScale,
        classes: int,
        dtype: torch.dtype,
        pool: BufferPool,
        align_corners: bool = True,
        softmax: bool = True,
    ) -> None:
        self.region, self.mirrored = scale.region, scale.mirrored
        self.align_corners, self.softmax = align_corners, softmax
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
        """Adds a window's probabilities (or logits), averaged with those of the mirror image.

        Nothing is added when this raises torch.OutOfMemoryError.

        Args:
            logits: float [1 or 2, K, h', w']; the second is the mirror image's. Another size than the window's is
                resized, bilinear.
            window: (top, bottom, left, right).
        """
        top, bottom, left, right = window
        height, width = bottom - top, right - left
        if logits.shape[2:] == (height, width):
            self._add_resized(logits, window)
            return
        resized = resize_bilinear(logits, (height, width), self.align_corners, self._pool)
        try:
            self._add_resized(resized, window)
        finally:
            self._pool.give(resized)

    def _add_resized(self, logits: torch.Tensor, window: tuple[int, int, int, int]) -> None:
        images, device = len(logits), self._pool.device
        height, width = logits.shape[2:]
        rows = strip_rows(images * self.classes * width * 4, height, device)
        if device.type != "cpu":
            rows = height
        if not self.softmax:
            self._add_strips(logits.float(), window, rows, is_ready=True)
            return
        if (
            device.type == "cpu"
            and self.dtype == torch.float64
            and rows < height
            and not strips_keep_bits(images, height, width, rows, torch.get_num_threads())
        ):
            self._add_strips(F.softmax(logits.float(), dim=1), window, rows, is_ready=True)
            return
        self._add_strips(logits, window, rows, is_ready=False)

    def _add_strips(self, values: torch.Tensor, window: tuple[int, int, int, int], rows: int, is_ready: bool) -> None:
        height = window[1] - window[0]
        threads = torch.get_num_threads() if self._pool.device.type == "cpu" else 1

        def work(begin: int, end: int) -> None:
            self._add_rows(values, window, rows, is_ready, begin, end)

        in_row_chunks(work, height, rows, threads)

    def _add_rows(
        self,
        values: torch.Tensor,
        window: tuple[int, int, int, int],
        rows: int,
        is_ready: bool,
        begin: int,
        end: int,
    ) -> None:
        top, _, left, right = window
        images, width, pool = len(values), right - left, self._pool
        shape = (self.classes, rows, width)
        strip = None if is_ready else pool.take((images, *shape), torch.float32)
        mean = pool.take(shape, torch.float32) if images == 2 else None
        wide = pool.take(shape, self.dtype) if self.dtype == torch.float64 else None
        for y in range(begin, end, rows):
            r = min(rows, end - y)
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
