"""The augmentation of the 2020 Catalyst attempt (0.739 mIoU), each deviation from the reference as one step.

The attempt used albumentations 0.4.x. Its semantics are written here on OpenCV, since later versions of that library
changed them. Every step is called as `(image, label) -> (image, label)` with image float32 [H, W, 3], RGB 0..255, and
label uint8 [H, W], and draws from python's global `random` only.
"""

import random
from collections.abc import Sequence

import cv2
import numpy as np

from semseg_ref.base.errors import InputError
from semseg_ref.transform import MEAN

Arrays = tuple[np.ndarray, np.ndarray]


def _interval(owner: str, name: str, bounds: Sequence[float]) -> tuple[float, float]:
    if isinstance(bounds, str) or not isinstance(bounds, Sequence) or len(bounds) != 2 or bounds[0] > bounds[1]:
        raise InputError(f"{owner}: {name} {bounds!r}: expected [low, high] with low <= high")
    return float(bounds[0]), float(bounds[1])


def _probability(owner: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise InputError(f"{owner}: p {p!r}: expected a probability from 0 to 1")
    return float(p)


class ShiftScaleRotate:
    """With probability `p`, one affine warp about (w/2, h/2) that keeps the canvas: the size never changes.

    A scale below 1 leaves a border around a small image and one above 1 zooms into the centre, where the reference
    resizes the whole image and crops. Image bilinear, label nearest, constant border.

    Draws: one for `p`; then angle, scale, horizontal shift, vertical shift, each only if its range is no single value.
    With `rotate` alone, or with nothing but the probability, the stream is therefore that of the reference's rotation.

    Args:
        scale: [low, high], factor, 0 < low.
        rotate: [low, high] in degrees, positive is counter-clockwise.
        shift: [low, high] as a fraction of the width and of the height, drawn for each.
        padding: colour of the border, one value a channel in grey levels.
        ignore_label: label of the border.
        p: probability of the whole warp; scale, rotation and shift come together or not at all.

    Raises:
        InputError: an interval, probability or padding that is none, or a warp that can never change anything.
    """

    def __init__(
        self,
        scale: Sequence[float] = (1.0, 1.0),
        rotate: Sequence[float] = (0.0, 0.0),
        shift: Sequence[float] = (0.0, 0.0),
        padding: Sequence[float] = MEAN,
        ignore_label: int = 255,
        p: float = 0.5,
    ) -> None:
        self.scale = _interval("ShiftScaleRotate", "scale", scale)
        self.rotate = _interval("ShiftScaleRotate", "rotate", rotate)
        self.shift = _interval("ShiftScaleRotate", "shift", shift)
        if self.scale[0] <= 0:
            raise InputError(f"ShiftScaleRotate: scale {scale!r}: expected factors above 0")
        if self.scale == (1.0, 1.0) and self.rotate == (0.0, 0.0) and self.shift == (0.0, 0.0):
            raise InputError("ShiftScaleRotate: scale, rotate and shift all leave the image as it is; give one a range")
        if len(padding) != 3:
            raise InputError(f"ShiftScaleRotate: padding {padding!r}: expected 3 values, one a channel")
        self.padding = [float(v) for v in padding]
        self.ignore_label = ignore_label
        self.p = _probability("ShiftScaleRotate", p)

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        if random.random() >= self.p:
            return image, label
        angle, scale, shift_x, shift_y = (
            low if low == high else random.uniform(low, high)
            for low, high in (self.rotate, self.scale, self.shift, self.shift)
        )
        height, width = label.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        matrix[:, 2] += shift_x * width, shift_y * height
        canvas, border = (width, height), {"borderMode": cv2.BORDER_CONSTANT}
        image = cv2.warpAffine(image, matrix, canvas, flags=cv2.INTER_LINEAR, borderValue=self.padding, **border)
        label = cv2.warpAffine(label, matrix, canvas, flags=cv2.INTER_NEAREST, borderValue=self.ignore_label, **border)
        return image, label


class SmallestMaxSize:
    """Resizes so that the shorter side is `size` pixels: image bilinear, label nearest. No draws.

    1024 x 2048 becomes 713 x 1426 for 713, a factor of 0.696; testing stayed at the native scale. Sides round half to
    even, and OpenCV gets the rounded size (the reference's random scale gives it the factor instead).

    Args:
        size: shorter side in pixels.

    Raises:
        InputError: `size` is no positive int.
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size < 1:
            raise InputError(f"SmallestMaxSize: size {size!r}: expected a positive number of pixels")
        self.size = size

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        height, width = label.shape
        factor = self.size / min(height, width)
        if factor == 1:
            return image, label
        canvas = (round(width * factor), round(height * factor))
        image = cv2.resize(image, canvas, interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(label, canvas, interpolation=cv2.INTER_NEAREST)


class BoxBlur:
    """With probability `p`, averages the image over a square window of random size; border reflect-101.

    The reference blurs with the binomial 5 x 5 kernel instead. One draw, two when it blurs.

    Args:
        kernel_sizes: window sides in pixels to choose from, each odd.
        p: probability.

    Raises:
        InputError: no sizes, an even or non-positive one, or a bad probability.
    """

    def __init__(self, kernel_sizes: Sequence[int] = (3, 5), p: float = 0.5) -> None:
        if len(kernel_sizes) == 0 or any(not isinstance(k, int) or k < 1 or k % 2 == 0 for k in kernel_sizes):
            raise InputError(f"BoxBlur: kernel_sizes {kernel_sizes!r}: expected odd positive sizes, as [3, 5]")
        self.kernel_sizes = tuple(kernel_sizes)
        self.p = _probability("BoxBlur", p)

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        if random.random() < self.p:
            kernel = random.choice(self.kernel_sizes)
            image = cv2.blur(image, (kernel, kernel))
        return image, label
