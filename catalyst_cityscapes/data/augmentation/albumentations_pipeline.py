"""The reference's augmentation with albumentations 2.0.8: the same distributions, not the same bits.

What differs from the reference, and by how much:

* scale: albumentations resizes to the size rounded down, the reference by the factor (up to a pixel of grid step);
* rotation is about the pixel centre (w-1)/2, (h-1)/2 and not w/2, h/2 (half a pixel);
* blur: a sampled Gaussian with OpenCV's default sigma for the size (1.1 for 5) and not the binomial kernel; the largest
  difference between the one-dimensional weights is 0.008.

Traps of the library that this module closes, each with a test:

* an argument that the installed version does not know is dropped with a warning and its default takes over (a label
  fill of 255 silently becomes 0, a class): every warning while a transform is built is an error;
* its generators are its own, so that loader workers and epochs repeat each other: they are replaced at each call from
  python's `random`, which the loaders seed for each sample;
* `Compose.set_random_seed` gives every transform the *same* generator state, so that all coins of one call fall alike
  (rotated images are exactly the blurred and mirrored ones): one generator is shared by all transforms instead;
* float images are clipped to 0..1 by some transforms: the image goes through as 0..1 and is scaled back by normalising;
* importing it asks the package index for news: switched off before the import.
"""

import importlib
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch

from semseg_ref.base.errors import InputError, did_you_mean
from semseg_ref.transform import MEAN, STD

GREY_LEVELS = 255.0


def import_albumentations() -> ModuleType:
    """The library, imported without its question to the package index.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        return importlib.import_module("albumentations")
    except ImportError as error:
        raise InputError(
            f"augmentation: albumentations cannot be imported ({error}); install it with "
            "`pip install 'catalyst-cityscapes[zoo]'` (version 2.0.8)"
        ) from error


def build_transform(name: str, **arguments: Any) -> Any:
    """One albumentations transform, built so that no argument can be dropped in silence.

    Args:
        name: class name in the library, as `Rotate`.
        arguments: its constructor's.

    Raises:
        InputError: there is no such transform, or the library refuses, ignores or warns about an argument.
    """
    library = import_albumentations()
    transform = getattr(library, name, None)
    if not isinstance(transform, type) or not issubclass(transform, library.BasicTransform):
        names = [n for n in dir(library) if isinstance(getattr(library, n), type)]
        raise InputError(
            f"augmentation: albumentations {library.__version__} has no '{name}'{did_you_mean(name, names)}"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            built = transform(**arguments)
        except (TypeError, ValueError) as error:
            raise InputError(f"augmentation: albumentations.{name} refuses {arguments}: {error}") from error
    if caught:
        said = "; ".join(str(warning.message) for warning in caught)
        raise InputError(
            f"augmentation: albumentations.{name}({arguments}) warns, so it would do something else: {said}"
        )
    return built


class AlbumentationsPipeline:
    """Random scale, rotation, Gaussian blur, mirror, padding, random crop and normalisation by albumentations.

    Args:
        crop: (height, width) in pixels, or one int for a square; a smaller image is padded around its centre.
        scale: [low, high], factor, drawn for every image.
        rotate: [low, high] in degrees.
        rotate_p: probability of rotating.
        blur_radius: size of the blur's kernel in pixels, odd (the reference's name; not half the size).
        blur_p: probability of blurring.
        flip_p: probability of mirroring left and right.
        mean: one value a channel in grey levels 0..255; also the colour of padding and rotated-in corners.
        std: one value a channel in grey levels.
        ignore_index: label of padding and rotated-in corners.
        extra: further transforms between crop and normalisation, each a mapping with `name` and its arguments. They see
            float32 images 0..1.

    Raises:
        InputError: albumentations is missing or warns about an argument; a size or a range is none.
    """

    def __init__(
        self,
        crop: int | Sequence[int],
        scale: Sequence[float] = (0.5, 2.0),
        rotate: Sequence[float] = (-10.0, 10.0),
        rotate_p: float = 0.5,
        blur_radius: int = 5,
        blur_p: float = 0.5,
        flip_p: float = 0.5,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        ignore_index: int = 255,
        extra: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        height, width = (crop, crop) if isinstance(crop, int) else tuple(crop)
        for name, bounds in (("scale", scale), ("rotate", rotate)):
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise InputError(f"AlbumentationsPipeline: {name} {bounds!r}: expected [low, high] with low <= high")
        if scale[0] <= 0:
            raise InputError(f"AlbumentationsPipeline: scale {scale!r}: expected factors above 0")
        for number, entry in enumerate(extra):
            if "name" not in entry:
                raise InputError(f"AlbumentationsPipeline: extra[{number}] {dict(entry)}: expected a key 'name'")
        fill = {
            "border_mode": cv2.BORDER_CONSTANT,
            "fill": tuple(v / GREY_LEVELS for v in mean),
            "fill_mask": ignore_index,
        }
        # OpenCV's rule for sigma 0, which is what the reference passes (its fixed kernels of size 1 to 7 come close).
        sigma = 0.3 * ((blur_radius - 1) * 0.5 - 1) + 0.8
        steps = [
            build_transform("RandomScale", scale_limit=(scale[0] - 1, scale[1] - 1), p=1.0),
            build_transform("Rotate", limit=tuple(rotate), p=rotate_p, **fill),
            build_transform(
                "GaussianBlur", blur_limit=(blur_radius, blur_radius), sigma_limit=(sigma, sigma), p=blur_p
            ),
            build_transform("HorizontalFlip", p=flip_p),
            build_transform("PadIfNeeded", min_height=height, min_width=width, position="center", p=1.0, **fill),
            build_transform("RandomCrop", height=height, width=width, p=1.0),
            *(build_transform(**entry) for entry in extra),
            build_transform(
                "Normalize",
                mean=tuple(v / GREY_LEVELS for v in mean),
                std=tuple(v / GREY_LEVELS for v in std),
                max_pixel_value=1.0,
                p=1.0,
            ),
        ]
        self.compose = import_albumentations().Compose(steps)

    def __call__(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment one sample. Takes one draw of 32 bits from python's `random`, whatever the transforms are.

        Args:
            image: float32 [H, W, 3], RGB 0..255.
            label: uint8 [H, W], class indices and the ignore index.

        Returns:
            float32 tensor [3, h, w], normalised, and int64 tensor [h, w].
        """
        seed = random.getrandbits(32)
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self.compose(image=image.astype(np.float32) / np.float32(GREY_LEVELS), mask=label)
        chw = np.ascontiguousarray(result["image"].transpose(2, 0, 1), dtype=np.float32)
        return torch.from_numpy(chw), torch.from_numpy(result["mask"].astype(np.int64))
