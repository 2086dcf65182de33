"""Transforms of albumentations: a `Compose` or a single one takes `image=` and `mask=`, and draws from own generators.

Those repeat themselves in every worker, so they are replaced at each call by ones seeded from python's `random`.
"""

import random
from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.data.augmentation.adapters.layouts import LibraryCall, as_bytes, as_tensors
from semseg_ref.base.errors import InputError

ON_FLOATS = ("Normalize", "ToTensorV2")
"""Transforms that take float images of any range; others clip them to 0..1 or take them for that."""


class AlbumentationsCall(LibraryCall):
    """Calls a transform of albumentations."""

    def __call__(self, image: Any, label: Any) -> tuple[Any, Any]:
        """See the package for layouts and ranges. One draw of 32 bits from python's `random`.

        Raises:
            InputError: the image is a tensor, and the transform would take its values for others.
        """
        seed = random.getrandbits(32)
        # One generator for all: set_random_seed would give every transform the same, and all coins would fall alike.
        self.transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if isinstance(image, torch.Tensor):
            name = type(self.transform).__name__
            if name not in ON_FLOATS:
                raise InputError(
                    f"augmentation: albumentations.{name} takes 8-bit images and gets a tensor: put it before the step "
                    "that makes tensors or normalises"
                )
            pixels, classes = np.ascontiguousarray(image.numpy().transpose(1, 2, 0)), label.numpy()
        else:
            pixels, classes = as_bytes(image), np.ascontiguousarray(label)
        result = self.transform(image=pixels, mask=classes)
        image, label = result["image"], result["mask"]
        if self.whole or isinstance(image, torch.Tensor) or image.dtype != np.uint8:
            return as_tensors(image, label)
        return image.astype(np.float32), np.ascontiguousarray(label)
