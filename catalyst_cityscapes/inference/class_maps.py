"""Class probabilities of a whole image, over all scales, and the classes they decide."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from catalyst_cityscapes.inference.buffers import BufferPool
from catalyst_cityscapes.inference.resizing import has_opencv_bits, resize_planes
from catalyst_cityscapes.inference.window_sum import WindowSum, strip_rows

# Classes resized together on the CPU: enough for OpenCV's many-channel arithmetic, few enough for little memory.
PIECE = 8


def decide_planes(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes, uint8 [h, w], and the largest probability [h, w] of [K, h, w]; the first class wins a tie.

    A probability that is not a number makes the largest one so.
    """
    best = planes[0].copy()
    # Small indices are quick; beyond 256 classes the result wraps around, as the control arm's does.
    kind = np.uint8 if len(planes) <= 256 else np.uint16
    winner = np.zeros(best.shape, kind)
    is_larger = np.empty(best.shape, bool)
    candidate = np.empty(best.shape, kind)
    for index in range(1, len(planes)):
        np.greater(planes[index], best, out=is_larger)
        np.multiply(is_larger.view(np.uint8), kind(index), out=candidate)
        np.maximum(winner, candidate, out=winner)
        np.maximum(best, planes[index], out=best)
    return winner.astype(np.uint8, copy=False), best


class ClassMap(ABC):
    """Mean class probabilities of an image, or mean logits under a protocol without softmax; scales come in order.

    Args:
        size: (height, width) of the image.
        classes: number of classes K.
        scales: how many scales will be added.
        pool: where the memory comes from; `release` gives it back.
    """

    def __init__(self, size: tuple[int, int], classes: int, scales: int, pool: BufferPool) -> None:
        self.size, self.classes, self.scales = size, classes, scales
        self.pool = pool

    @abstractmethod
    def add(self, scale: WindowSum) -> None:
        """Adds one scale's sums, resized to the image, and takes them over."""

    @abstractmethod
    def strips(self) -> Iterator[tuple[int, torch.Tensor]]:
        """(top row, probabilities [K, rows, W]) of all strips; the memory is used again for the next strip."""

    @abstractmethod
    def release(self) -> None:
        """Gives the memory back."""

    def decide(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The predicted classes, uint8 [H, W], and whether all probabilities are finite, bool []; on the device."""
        device = self.pool.device
        prediction = torch.empty(self.size, dtype=torch.uint8, device=device)
        finite = torch.ones((), dtype=torch.bool, device=device)
        for y, planes in self.strips():
            rows = slice(y, y + planes.shape[1])
            if device.type == "cpu":
                winner, best = decide_planes(planes.numpy())
                prediction[rows] = torch.from_numpy(winner)
                finite &= bool(np.isfinite(best).all())
            else:
                best, winner = planes.max(dim=0)
                prediction[rows] = winner
                finite &= best.isfinite().all()
        return prediction, finite

    def probabilities(self) -> np.ndarray:
        """All probabilities, [H, W, K] in the sums' dtype, a new array on the CPU."""
        result: np.ndarray | None = None
        for y, planes in self.strips():
            if result is None:
                result = np.empty((*self.size, self.classes), torch.empty(0, dtype=planes.dtype).numpy().dtype)
            result[y : y + planes.shape[1]] = planes.permute(1, 2, 0).cpu().numpy()
        assert result is not None
        return result


class OneScaleMap(ClassMap):
    """The sums of a single scale of the image's own size: nothing is resized, and nothing is copied."""

    def add(self, scale: WindowSum) -> None:
        """Keeps the sums."""
        self._scale = scale

    def strips(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See `ClassMap.strips`."""
        return self._scale.mean_strips()

    def release(self) -> None:
        """Gives the memory back."""
        self._scale.release()


class HostMap(ClassMap):
    """Several scales or a resized one, on the CPU: pieces of a few classes, resized by OpenCV."""

    def __init__(self, size: tuple[int, int], classes: int, scales: int, pool: BufferPool) -> None:
        super().__init__(size, classes, scales, pool)
        bounds = np.linspace(0, classes, max(classes // PIECE, 1) + 1).astype(int)
        self._ranges = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
        self._pieces: list[torch.Tensor] = []

    def add(self, scale: WindowSum) -> None:
        """Adds one scale's sums."""
        first = not self._pieces
        height, width = scale.region[2:]
        for index, (begin, end) in enumerate(self._ranges):
            if first:
                self._pieces.append(self.pool.take((*self.size, end - begin), scale.dtype))
            piece = self._pieces[index]
            same_size = (height, width) == self.size
            source = piece if first and same_size else self.pool.take((height, width, end - begin), scale.dtype)
            for y, planes in scale.mean_strips(begin, end):
                source[y : y + planes.shape[1]].copy_(planes.permute(1, 2, 0))
            if source is piece:
                continue
            if same_size:
                piece.add_(source)
            elif first:
                _resize(source, piece)
            else:
                resized = self.pool.take((*self.size, end - begin), scale.dtype)
                piece.add_(_resize(source, resized))
                self.pool.give(resized)
            self.pool.give(source)
        scale.release()

    def strips(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See `ClassMap.strips`."""
        height, width = self.size
        dtype = self._pieces[0].dtype
        rows = strip_rows(self.classes * width * dtype.itemsize, height, self.pool.device)
        buffer = self.pool.take((self.classes, rows, width), dtype)
        try:
            for y in range(0, height, rows):
                r = min(rows, height - y)
                for (begin, end), piece in zip(self._ranges, self._pieces, strict=True):
                    buffer[begin:end, :r].copy_(piece[y : y + r].permute(2, 0, 1))
                planes = buffer[:, :r]
                yield y, planes.div_(self.scales) if self.scales > 1 else planes
        finally:
            self.pool.give(buffer)

    def release(self) -> None:
        """Gives the memory back."""
        for piece in self._pieces:
            self.pool.give(piece)


def _resize(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """OpenCV's bilinear resize of [h, w, c] into [H, W, c]."""
    height, width = target.shape[:2]
    flat = (slice(None), slice(None), 0) if target.shape[2] == 1 else slice(None)
    values = target.numpy()[flat]
    found = cv2.resize(source.numpy(), (width, height), dst=values, interpolation=cv2.INTER_LINEAR)
    if not np.shares_memory(found, values):
        values[...] = found
    return target


class DeviceMap(ClassMap):
    """Several scales or a resized one, on a GPU.

    Args:
        exact: repeat OpenCV's bits, by OpenCV on the CPU where torch does not have them.
        size, classes, scales, pool: see `ClassMap`.
    """

    def __init__(self, size: tuple[int, int], classes: int, scales: int, pool: BufferPool, exact: bool = True) -> None:
        super().__init__(size, classes, scales, pool)
        self._exact = exact
        self._total: torch.Tensor | None = None

    def add(self, scale: WindowSum) -> None:
        """Adds one scale's sums."""
        first = self._total is None
        if self._total is None:
            self._total = self.pool.take((self.classes, *self.size), scale.dtype)
        size = scale.region[2:]
        if size == self.size:
            for y, planes in scale.mean_strips():
                rows = self._total[:, y : y + planes.shape[1]]
                rows.copy_(planes) if first else rows.add_(planes)
        else:
            mean = self.pool.take((self.classes, *size), scale.dtype)
            for y, planes in scale.mean_strips():
                mean[:, y : y + planes.shape[1]].copy_(planes)
            if has_opencv_bits(self.classes, size, self.size) or not self._exact:
                resize_planes(mean, self.size, self._total, accumulate=not first)
            else:
                resized = torch.empty((*self.size, self.classes), dtype=scale.dtype)
                _resize(mean.permute(1, 2, 0).contiguous().cpu(), resized)
                planes = resized.permute(2, 0, 1).to(mean.device)
                self._total.copy_(planes) if first else self._total.add_(planes)
            self.pool.give(mean)
        scale.release()

    def strips(self) -> Iterator[tuple[int, torch.Tensor]]:
        """See `ClassMap.strips`."""
        assert self._total is not None
        height, width = self.size
        rows = strip_rows(self.classes * width * self._total.dtype.itemsize, height, self.pool.device)
        for y in range(0, height, rows):
            planes = self._total[:, y : y + rows]
            yield y, planes / self.scales if self.scales > 1 else planes

    def release(self) -> None:
        """Gives the memory back."""
        if self._total is not None:
            self.pool.give(self._total)
