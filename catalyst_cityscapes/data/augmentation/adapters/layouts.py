"""Images and labels between layouts: the arrays of the reference's steps and the tensors of the network."""

from typing import Any

import numpy as np
import torch


class LibraryCall:
    """Calls a transform of another library; a subclass says how.

    Args:
        transform: a composition of the library, or a single transform.
        whole: gives tensors even if the image stays 8-bit.
    """

    takes_uint8 = True

    def __init__(self, transform: Any, whole: bool = False) -> None:
        self.transform = transform
        self.whole = whole

    def __repr__(self) -> str:
        return repr(self.transform)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], contiguous, of uint8 or of float32 0..255, which is rounded."""
    return np.ascontiguousarray(image if image.dtype == np.uint8 else np.rint(image).clip(0, 255).astype(np.uint8))


def as_tensors(image: Any, label: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [3, H, W] and int64 [H, W] of an array [H, W, 3] or tensor [3, H, W] and a label of either kind."""
    if not isinstance(image, torch.Tensor):
        image = torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))
    label = torch.as_tensor(np.ascontiguousarray(label) if isinstance(label, np.ndarray) else label)
    return image.float(), label.long()
