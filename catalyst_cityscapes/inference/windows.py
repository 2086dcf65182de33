"""An image at one scale, mirrored or not, ready for the network: resized, padded, normalised, cut into windows."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from catalyst_cityscapes.inference.geometry import border, size_at, views, windows
from semseg_ref.protocol import Protocol

Allocate = Callable[[tuple[int, ...]], torch.Tensor]


@dataclass
class PreparedScale:
    """One image at one scale; where a protocol mirrors whole images, these are scales of their own (`geometry.views`).

    `pixels` is float32 [3, h, w], normalised and padded, on the CPU. `region` (top, left, height, width) is the image
    inside the padding, `size` (H, W) the image's own size, `windows` the positions (top, bottom, left, right), ends
    exclusive, all of one size. `image` and `scale` are indices; the image is complete after scale number `scales` - 1.
    `mirrored`: left and right are exchanged.
    """

    image: int
    scale: int
    scales: int
    size: tuple[int, int]
    pixels: torch.Tensor
    region: tuple[int, int, int, int]
    windows: list[tuple[int, int, int, int]]
    mirrored: bool = False


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


def resized(image: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
    """An image at another size, as `Protocol.resize` says.

    Args:
        image: float32 [H, W, 3], 0..255.
        size: (height, width).
        kind: see `Protocol`; `aligned` before normalisation differs from after it by rounding alone, both are linear.

    Returns:
        float32 [height, width, 3], contiguous.
    """
    height, width = size
    if kind == "opencv":
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if kind == "aligned":
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]
        planes = F.interpolate(planes, size, mode="bilinear", align_corners=True)[0]
        return planes.permute(1, 2, 0).contiguous().numpy()
    grey = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if kind == "opencv_uint8":
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR))
    return grey.astype(np.float32)


def prepare_scale(
    image: np.ndarray, protocol: Protocol, scale: int, index: int = 0, allocate: Allocate = new_pixels
) -> PreparedScale:
    """An image at the protocol's scale number `scale`; under a protocol of the reference with the control arm's bits.

    The whole padded image is normalised once, where the control arm normalises each of the overlapping windows: the
    arithmetic of a pixel is the same.

    Args:
        image: float32 [H, W, 3], RGB 0..255.
        protocol: how to test.
        scale: position in `geometry.views`, which for the reference's protocols is that in `protocol.scales`.
        index: the image's position in its list.
        allocate: gives the memory of the pixels for a shape.
    """
    size = image.shape[:2]
    seen_as = views(protocol)
    factor, mirrored = seen_as[scale]
    height, width = size_at(protocol, *size, factor)
    if (height, width) != size:
        image = resized(image, (height, width), protocol.resize)
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    top, bottom, left, right = border(protocol, height, width)
    if top or bottom or left or right:
        colour = protocol.mean if protocol.pad_value is None else protocol.pad_value
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=tuple(colour))
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
        len(seen_as),
        size,
        pixels,
        (top, left, height, width),
        windows(protocol, *image.shape[:2]),
        mirrored,
    )
