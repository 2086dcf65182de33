"""Class scores of an image under protocols that the reference does not know: any order of resize, softmax and mean."""

from collections.abc import Iterator

import numpy as np
import torch

from catalyst_cityscapes.inference.buffers import BufferPool
from catalyst_cityscapes.inference.class_maps import ClassMap
from catalyst_cityscapes.inference.resizing import resize_bilinear
from catalyst_cityscapes.inference.window_sum import WindowSum, strip_rows


class ViewMap(ClassMap):
    """Views (scales, mirror images), each brought back to the image's size and, if asked for, through the softmax.

    In torch throughout, on any device. Three maps of the image's size at most are in memory while a view is added.

    Args:
        size, classes, scales, pool: see `ClassMap`; `scales` is the number of views.
        resize_back: see `Protocol`.
        softmax: of each view's mean logits.
    """

    def __init__(
        self, size: tuple[int, int], classes: int, scales: int, pool: BufferPool, resize_back: str, softmax: bool
    ) -> None:
        super().__init__(size, classes, scales, pool)
        self._resize_back, self._softmax = resize_back, softmax
        self._total: torch.Tensor | None = None

    def add(self, scale: WindowSum) -> None:
        """Adds one view's sums."""
        mean = self.pool.take((self.classes, *scale.region[2:]), scale.dtype)
        for y, planes in scale.mean_strips():
            mean[:, y : y + planes.shape[1]].copy_(planes.flip(2) if scale.mirrored else planes)
        scale.release()
        scores = mean
        if scale.region[2:] != self.size:
            scores = resized_scores(mean, self.size, self._resize_back, self.pool)
            self.pool.give(mean)
        if self._softmax:
            logits, scores = scores, self.pool.take(scores.shape, scores.dtype)
            torch.softmax(logits, dim=0, out=scores)
            self.pool.give(logits)
        if self._total is None:
            self._total = scores
        else:
            self._total.add_(scores)
            self.pool.give(scores)

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


def resized_scores(scores: torch.Tensor, size: tuple[int, int], kind: str, pool: BufferPool) -> torch.Tensor:
    """Scores at another size.

    Args:
        scores: float [K, h, w].
        size: (H, W).
        kind: see `Protocol.resize_back`; `nearest` takes the pixel floor(i * h / H).
        pool: where the memory of the result comes from.

    Returns:
        float [K, H, W].
    """
    if kind != "nearest":
        return resize_bilinear(scores[None], size, kind == "bilinear_aligned", pool)[0]
    rows, columns = (
        torch.from_numpy(np.arange(new) * old // new).to(scores.device)
        for old, new in zip(scores.shape[1:], size, strict=True)
    )
    result = pool.take((len(scores), *size), scores.dtype)
    return torch.index_select(scores.index_select(1, rows), 2, columns, out=result)
