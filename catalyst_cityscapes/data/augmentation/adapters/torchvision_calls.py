"""Transforms of torchvision's `transforms.v2`: typed tensors, since arrays pass through them unchanged.

They draw from torch's generator, which the loaders seed for each sample, at its position.
"""

from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.data.augmentation.adapters.layouts import LibraryCall, as_bytes, as_tensors
from semseg_ref.base.errors import InputError

COLOUR_MODULE = "torchvision.transforms.v2._color"
"""Its transforms take float images for 0..1, and clip what is not."""


class TorchvisionCall(LibraryCall):
    """Calls a transform of `torchvision.transforms.v2`."""

    def __call__(self, image: Any, label: Any) -> tuple[Any, Any]:
        """See the package for layouts and ranges.

        Raises:
            InputError: a colour transform gets a float image that is not of 0..1.
        """
        from torchvision import tv_tensors

        if not isinstance(image, torch.Tensor):
            image = torch.from_numpy(as_bytes(image).transpose(2, 0, 1).copy())
        elif type(self.transform).__module__ == COLOUR_MODULE and (image.min() < 0 or image.max() > 1):
            raise InputError(
                f"augmentation: torchvision's {type(self.transform).__name__} takes 8-bit images, or floats of 0..1, "
                f"and gets floats of {image.min():.3g}..{image.max():.3g}: put it before the step that makes tensors"
            )
        label = torch.from_numpy(np.array(label)) if isinstance(label, np.ndarray) else label
        image, label = self.transform(tv_tensors.Image(image), tv_tensors.Mask(label))
        image, label = image.as_subclass(torch.Tensor), label.as_subclass(torch.Tensor)
        if self.whole or image.is_floating_point():
            return as_tensors(image, label)
        return np.ascontiguousarray(image.permute(1, 2, 0).numpy(), np.float32), np.ascontiguousarray(label.numpy())
