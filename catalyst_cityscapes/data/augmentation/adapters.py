"""Augmentations of other libraries as `(image, label) -> (image, label)`, drawn from the sample's own seed.

A transform of albumentations (a `Compose` or a single one) takes `image=` and `mask=`, and draws from generators of its
own, which repeat themselves in every worker; one of torchvision's `transforms.v2` takes typed tensors, passes arrays
through unchanged, and draws from torch's generator, which no sampler seeds. Both get the image as 8-bit, as they
expect, and a generator seeded from python's `random`, as every step here.
"""

import random
from typing import Any

import numpy as np
import torch

from catalyst_cityscapes.recipe.nodes.kinds import ALBUMENTATIONS, TORCHVISION, library_of


def adapted(augmentation: Any) -> Any:
    """An augmentation that takes (image, label): itself, or one of another library in its adapter."""
    libraries = {library_of(base.__module__) for base in type(augmentation).__mro__}
    if ALBUMENTATIONS in libraries:
        return AlbumentationsCall(augmentation)
    return TorchvisionCall(augmentation) if TORCHVISION in libraries else augmentation


def _as_bytes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image if image.dtype == np.uint8 else np.rint(image).clip(0, 255).astype(np.uint8))


def _tensors(image: Any, label: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(image, torch.Tensor):
        image = torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))
    label = torch.as_tensor(np.ascontiguousarray(label) if isinstance(label, np.ndarray) else label)
    return image.float(), label.long()


class AlbumentationsCall:
    """Calls a transform of albumentations.

    Args:
        transform: an `albumentations.Compose`, or a single transform.
    """

    takes_uint8 = True

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 or float32 [H, W, 3], RGB 0..255, and uint8 [H, W] -> float32 [3, h, w] and int64 [h, w]."""
        seed = random.getrandbits(32)
        # One generator for all: set_random_seed would give every transform the same, and all coins would fall alike.
        self.transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self.transform(image=_as_bytes(image), mask=np.ascontiguousarray(label))
        return _tensors(result["image"], result["mask"])


class TorchvisionCall:
    """Calls a transform of `torchvision.transforms.v2`.

    Args:
        transform: a `v2.Compose`, or a single transform.
    """

    takes_uint8 = True

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 or float32 [H, W, 3], RGB 0..255, and uint8 [H, W] -> float32 [3, h, w] and int64 [h, w]."""
        from torchvision import tv_tensors

        typed = tv_tensors.Image(torch.from_numpy(_as_bytes(image).transpose(2, 0, 1).copy()))
        mask = tv_tensors.Mask(torch.from_numpy(np.array(label)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.getrandbits(32))
            image, label = self.transform(typed, mask)
        return _tensors(image.as_subclass(torch.Tensor), label.as_subclass(torch.Tensor))
