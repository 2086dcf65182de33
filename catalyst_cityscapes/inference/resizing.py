"""Bilinear resizes of maps of scores: torch's own, and OpenCV's in torch, on any device and with the same bits.

OpenCV's: for more than 4 channels OpenCV 4 interpolates rows first, then columns, each as `a * (1 - f) + b * f` with
the fraction f rounded to float32; a map of exactly twice the size is averaged in blocks instead. Few channels take
another way in OpenCV, with another rounding.
"""

import numpy as np
import torch
import torch.nn.functional as F

from catalyst_cityscapes.inference.buffers import BufferPool


def resize_bilinear(scores: torch.Tensor, size: tuple[int, int], align_corners: bool, pool: BufferPool) -> torch.Tensor:
    """torch's bilinear resize, with its bits, in memory of the pool.

    On a CPU half of its time goes into memory that is new to the process.

    Args:
        scores: float [N, K, h, w]; no gradient is wanted.
        size: (H, W).
        align_corners: corner pixels on each other.
        pool: of the tensor's device.

    Returns:
        float [N, K, H, W], contiguous, to be given back to the pool.
    """
    result = pool.take((*scores.shape[:2], *size), scores.dtype)
    if scores.device.type != "cpu":
        return result.copy_(F.interpolate(scores, size, mode="bilinear", align_corners=align_corners))
    return torch.ops.aten.upsample_bilinear2d.out(scores.contiguous(), size, align_corners, None, None, out=result)


def has_opencv_bits(classes: int, size: tuple[int, int], new_size: tuple[int, int]) -> bool:
    """Whether `resize_planes` repeats `cv2.resize` to the bit for these maps."""
    return classes > 4 and size != (2 * new_size[0], 2 * new_size[1])


def _positions(old: int, new: int, snap: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Indices and weights of the two neighbours of every new pixel; `snap`: outside the centres the edge counts."""
    step = 1.0 / (new / old)
    places = ((np.arange(new) + 0.5) * step - 0.5).astype(np.float32)
    lower = np.floor(places).astype(np.int64)
    fraction = places - lower.astype(np.float32)
    if snap:
        fraction[(lower < 0) | (lower >= old - 1)] = 0
    first, second = (np.clip(lower + k, 0, old - 1) for k in (0, 1))
    return first, second, (np.float32(1) - fraction), fraction


def resize_planes(
    planes: torch.Tensor, new_size: tuple[int, int], out: torch.Tensor, accumulate: bool = False
) -> torch.Tensor:
    """Bilinear resize of [K, h, w] into `out` [K, H, W], or added to it; float64 or float32."""
    device, dtype = planes.device, planes.dtype

    def table(old: int, new: int, snap: bool) -> list[torch.Tensor]:
        first, second, *weights = (torch.from_numpy(v).to(device) for v in _positions(old, new, snap))
        return [first, second, *(weight.to(dtype) for weight in weights)]

    x0, x1, left, right = table(planes.shape[2], new_size[1], True)
    y0, y1, above, below = table(planes.shape[1], new_size[0], False)
    for plane, target in zip(planes, out, strict=True):
        rows = plane.index_select(1, x0).mul_(left).add_(plane.index_select(1, x1).mul_(right))
        resized = rows.index_select(0, y0).mul_(above[:, None])
        resized.add_(rows.index_select(0, y1).mul_(below[:, None]))
        target.add_(resized) if accumulate else target.copy_(resized)
    return out
