"""The reference's augmentation on OpenCV, bit for bit.

Every transform is called as `(image, label) -> (image, label)` with

* image: float32 [H, W, 3], RGB 0..255 (after `ToTensor`: float32 tensor [3, H, W]);
* label: uint8 [H, W], class indices and `ignore_label` (after `ToTensor`: int64 tensor [H, W]).

Random numbers come from python's global `random` module only, in a fixed order that is part of the behaviour: the
golden files pin the state of the generator after each pipeline. The bits are those of OpenCV 4.5 to 4.11; later
versions resize and rotate differently.
"""

import math
import random
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

import cv2
import numpy as np
import torch

from semseg_ref.base.errors import DataError, OptionError, did_you_mean
from semseg_ref.base.image_statistics import MEAN, STD

Pair = tuple[Any, Any]
Transform = Callable[[Any, Any], Pair]


def _is_range(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, Number) for v in value)


def _uniform(bounds: Sequence[float]) -> float:
    """One draw from [low, high); `random.uniform` would round differently in the last bit."""
    return bounds[0] + (bounds[1] - bounds[0]) * random.random()


class Compose:
    """Applies transforms in order."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any, label: Any) -> Pair:
        for transform in self.transforms:
            image, label = transform(image, label)
        return image, label


class ToTensor:
    """Image to a float32 tensor [C, H, W] and label to an int64 tensor [H, W]; values are not scaled.

    Both are copies: the reference's tensors share memory with the arrays, and normalising in place changes those.
    """

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        if not isinstance(image, np.ndarray) or not isinstance(label, np.ndarray):
            raise DataError(
                f"ToTensor: expected two numpy arrays, found {type(image).__name__}, {type(label).__name__}"
            )
        if image.ndim == 2:
            image = image[:, :, None]
        if image.ndim != 3 or label.ndim != 2:
            raise DataError(f"ToTensor: expected image [H, W, C] and label [H, W], found {image.shape}, {label.shape}")
        chw = np.array(image.transpose(2, 0, 1), dtype=np.float32, order="C")
        return torch.from_numpy(chw), torch.from_numpy(label.astype(np.int64))


class Normalize:
    """`(image - mean) / std` per channel in float32; only the subtraction when `std` is None.

    Args:
        mean: one value a channel, in grey levels 0..255.
        std: one value a channel, in grey levels, none of them 0; or None.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float] | None = None) -> None:
        if len(mean) == 0 or (std is not None and (len(std) != len(mean) or 0 in std)):
            raise OptionError(f"Normalize: mean {mean} and std {std}: expected one value a channel, std not 0")
        self.mean = torch.tensor(list(mean), dtype=torch.float32)[:, None, None]
        self.std = None if std is None else torch.tensor(list(std), dtype=torch.float32)[:, None, None]

    def __call__(self, image: torch.Tensor, label: Any) -> Pair:
        image = image - self.mean
        if self.std is not None:
            image.div_(self.std)
        return image, label


class Resize:
    """Resizes to a fixed size: image bilinear, label nearest.

    Args:
        size: (height, width).
    """

    def __init__(self, size: Sequence[int]) -> None:
        if not _is_range(size) or min(size) < 1:
            raise OptionError(f"Resize: size {size!r}: expected (height, width)")
        self.size = (int(size[0]), int(size[1]))

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        wh = self.size[::-1]
        image = cv2.resize(image, wh, interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(label, wh, interpolation=cv2.INTER_NEAREST)


class RandScale:
    """Scales image (bilinear) and label (nearest) by a random factor. One draw; two with `aspect_ratio`.

    OpenCV gets the factors and no target size, so that the sampling grid has step 1 / factor; resizing to the rounded
    size gives other pixels.

    Args:
        scale: (low, high), 0 < low < high.
        aspect_ratio: (low, high) likewise; width is multiplied by its root and height divided by it.
    """

    def __init__(self, scale: Sequence[float], aspect_ratio: Sequence[float] | None = None) -> None:
        for name, bounds in (("scale", scale), ("aspect_ratio", aspect_ratio)):
            if name == "aspect_ratio" and bounds is None:
                continue
            if not _is_range(bounds) or not 0 < bounds[0] < bounds[1]:
                raise OptionError(f"RandScale: {name} {bounds!r}: expected (low, high) with 0 < low < high")
        self.scale = scale
        self.aspect_ratio = aspect_ratio

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        scale = _uniform(self.scale)
        root = 1.0 if self.aspect_ratio is None else math.sqrt(_uniform(self.aspect_ratio))
        fx, fy = scale * root, scale / root
        image = cv2.resize(image, None, fx=fx, fy=fy, interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(label, None, fx=fx, fy=fy, interpolation=cv2.INTER_NEAREST)


class Crop:
    """Crops a fixed size, padding first (half of it, rounded down, at the top and left) where the image is smaller.

    Draws the row offset and then the column offset when `crop_type` is `rand`, also when only one value is possible.

    Args:
        size: (height, width), or one int for a square.
        crop_type: `center` or `rand`.
        padding: colour of the image's padding, one value a channel in grey levels.
        ignore_label: value of the label's padding.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        crop_type: str = "center",
        padding: Sequence[float] | None = None,
        ignore_label: int = 255,
    ) -> None:
        if isinstance(size, int):
            size = (size, size)
        if not _is_range(size) or not all(isinstance(v, int) and v > 0 for v in size):
            raise OptionError(f"Crop: size {size!r}: expected a positive int or (height, width)")
        if crop_type not in ("center", "rand"):
            raise OptionError(f"Crop: crop_type {crop_type!r}{did_you_mean(str(crop_type), ('center', 'rand'))}")
        if padding is not None and len(padding) != 3:
            raise OptionError(f"Crop: padding {padding!r}: expected 3 values, one a channel")
        if not isinstance(ignore_label, int):
            raise OptionError(f"Crop: ignore_label {ignore_label!r}: expected an int")
        self.crop_h, self.crop_w = size
        self.crop_type = crop_type
        self.padding = None if padding is None else tuple(padding)
        self.ignore_label = ignore_label

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        h, w = label.shape
        pad_h, pad_w = max(self.crop_h - h, 0), max(self.crop_w - w, 0)
        if pad_h or pad_w:
            if self.padding is None:
                raise DataError(f"Crop: image of {h} x {w} is smaller than {self.crop_h} x {self.crop_w}; set padding")
            top, left = pad_h // 2, pad_w // 2
            border = (top, pad_h - top, left, pad_w - left, cv2.BORDER_CONSTANT)
            image = cv2.copyMakeBorder(image, *border, value=self.padding)
            label = cv2.copyMakeBorder(label, *border, value=self.ignore_label)
            h, w = label.shape
        if self.crop_type == "rand":
            y = random.randint(0, h - self.crop_h)
            x = random.randint(0, w - self.crop_w)
        else:
            y, x = (h - self.crop_h) // 2, (w - self.crop_w) // 2
        window = np.s_[y : y + self.crop_h, x : x + self.crop_w]
        return image[window], label[window]


class RandRotate:
    """With probability `p`, rotates by a random angle about (w/2, h/2) on the same canvas. One draw, or two.

    Args:
        rotate: (low, high) in degrees, low < high; positive is counter-clockwise.
        padding: colour outside the image, one value a channel in grey levels.
        ignore_label: label outside the image.
        p: probability.
    """

    def __init__(
        self, rotate: Sequence[float], padding: Sequence[float], ignore_label: int = 255, p: float = 0.5
    ) -> None:
        if not _is_range(rotate) or not rotate[0] < rotate[1]:
            raise OptionError(f"RandRotate: rotate {rotate!r}: expected (low, high) in degrees with low < high")
        if not isinstance(padding, Sequence) or len(padding) != 3:
            raise OptionError(f"RandRotate: padding {padding!r}: expected 3 values, one a channel")
        if not isinstance(ignore_label, int):
            raise OptionError(f"RandRotate: ignore_label {ignore_label!r}: expected an int")
        self.rotate = rotate
        self.padding = tuple(padding)
        self.ignore_label = ignore_label
        self.p = p

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        if random.random() < self.p:
            angle = _uniform(self.rotate)
            h, w = label.shape
            matrix = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1)
            border = {"borderMode": cv2.BORDER_CONSTANT}
            image = cv2.warpAffine(image, matrix, (w, h), flags=cv2.INTER_LINEAR, borderValue=self.padding, **border)
            label = cv2.warpAffine(
                label, matrix, (w, h), flags=cv2.INTER_NEAREST, borderValue=self.ignore_label, **border
            )
        return image, label


class RandomHorizontalFlip:
    """With probability `p`, mirrors left and right. One draw."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        if random.random() < self.p:
            return cv2.flip(image, 1), cv2.flip(label, 1)
        return image, label


class RandomVerticalFlip:
    """With probability `p`, mirrors top and bottom. One draw."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        if random.random() < self.p:
            return cv2.flip(image, 0), cv2.flip(label, 0)
        return image, label


class RandomGaussianBlur:
    """With probability 0.5, blurs the image. One draw.

    Sigma 0 makes OpenCV take its fixed binomial kernel, [1 4 6 4 1] / 16 for 5, and not a sampled Gaussian.

    Args:
        radius: size of the kernel (not half of it), odd.
    """

    def __init__(self, radius: int = 5) -> None:
        if not isinstance(radius, int) or radius < 1 or radius % 2 == 0:
            raise OptionError(f"RandomGaussianBlur: radius {radius!r}: expected a positive odd kernel size")
        self.radius = radius

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        if random.random() < 0.5:
            image = cv2.GaussianBlur(image, (self.radius, self.radius), 0)
        return image, label


class RGB2BGR:
    """Swaps red and blue of an image [H, W, 3]."""

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        return cv2.cvtColor(image, cv2.COLOR_RGB2BGR), label


class BGR2RGB:
    """Swaps blue and red of an image [H, W, 3]."""

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Pair:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), label


def train_transform(
    train_h: int,
    train_w: int,
    scale: Sequence[float] = (0.5, 2.0),
    rotate: Sequence[float] = (-10, 10),
    mean: Sequence[float] = MEAN,
    std: Sequence[float] | None = STD,
    ignore_label: int = 255,
) -> Compose:
    """The reference's training pipeline: scale, rotate, blur, flip, random crop, tensor, normalise."""
    return Compose(
        [
            RandScale(scale),
            RandRotate(rotate, padding=mean, ignore_label=ignore_label),
            RandomGaussianBlur(),
            RandomHorizontalFlip(),
            Crop((train_h, train_w), crop_type="rand", padding=mean, ignore_label=ignore_label),
            ToTensor(),
            Normalize(mean, std),
        ]
    )


def val_transform(
    train_h: int,
    train_w: int,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] | None = STD,
    ignore_label: int = 255,
) -> Compose:
    """The reference's validation pipeline: centre crop with padding, tensor, normalise."""
    return Compose(
        [
            Crop((train_h, train_w), crop_type="center", padding=mean, ignore_label=ignore_label),
            ToTensor(),
            Normalize(mean, std),
        ]
    )
