"""An image at one scale, ready for the network: resized, padded, normalised, with the positions of its windows."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from semseg_ref.protocol import Protocol, padding, scaled_size, window_positions

Allocate = Callable[[tuple[int, ...]], torch.Tensor]


@dataclass
class PreparedScale:
    """One image at one scale.

    `pixels` is float32 [3, h, w], normalised and padded, on the CPU. `region` (top, left, height, width) is the image
    inside the padding, `size` (H, W) the image's own size, `windows` the positions (top, bottom, left, right), ends
    exclusive. `image` and `scale` are indices; the image is complete after scale number `scales` - 1.
    """

    image: int
    scale: int
    scales: int
    size: tuple[int, int]
    pixels: torch.Tensor
    region: tuple[int, int, int, int]
    windows: list[tuple[int, int, int, int]]


def check_image(image: np.ndarray) -> np.ndarray:
    """The image as float32.

    Raises:
        ValueError: not [H, W, 3].
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image {image.shape}: expected [H, W, 3]")
    return np.ascontiguousarray(image, dtype=np.float32)


def new_pixels(shape: tuple[int, ...]) -> torch.Tensor:
    """Uninitialised float32 memory; pinned where there is a GPU, so that the transfer does not stop the CPU."""
    return torch.empty(shape, dtype=torch.float32, pin_memory=torch.cuda.is_available())


def prepare_scale(
    image: np.ndarray, protocol: Protocol, scale: int, index: int = 0, allocate: Allocate = new_pixels
) -> PreparedScale:
    """An image at the protocol's scale number `scale`, with the control arm's bits.

    The whole padded image is normalised once, where the control arm normalises each of the overlapping windows: the
    arithmetic of a pixel is the same.

    Args:
        image: float32 [H, W, 3], RGB 0..255.
        protocol: how to test.
        scale: position in `protocol.scales`.
        index: the image's position in its list.
        allocate: gives the memory of the pixels for a shape.
    """
    size = image.shape[:2]
    height, width = (max(side, 1) for side in scaled_size(*size, protocol.scales[scale], protocol.base_size))
    if (height, width) != size:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = padding(height, width, protocol.crop)
    if top or bottom or left or right:
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=tuple(protocol.mean))
    pixels = allocate((3, *image.shape[:2]))
    planes = pixels.numpy()
    for channel in range(3):
        cv2.extractChannel(image, channel, planes[channel])
    # Tensors and not numbers: torch may multiply by a number's reciprocal instead of dividing.
    pixels.sub_(torch.tensor(protocol.mean, dtype=torch.float32)[:, None, None])
    if protocol.std is not None:
        pixels.div_(torch.tensor(protocol.std, dtype=torch.float32)[:, None, None])
    return PreparedScale(
        index,
        scale,
        len(protocol.scales),
        size,
        pixels,
        (top, left, height, width),
        window_positions(*image.shape[:2], protocol.crop, protocol.stride_rate),
    )
