"""mmsegmentation 1.2.2's training pipeline for Cityscapes, to the bit and to the position of the generator.

The steps work on image uint8 [H, W, 3], BGR, and label uint8 [H, W], and draw from numpy's legacy global generator.
In a recipe `ToBGR` comes first, since images are read as RGB, and `NormalizeAndPad` last. What comes before the crop
also works on a part of the image (`lazily`; `lazy_sample`), with the same draws and bits, and colour works by tables of
256 entries, made by the package's own float32 arithmetic. Written from descriptions of what the package does and
checked against its outputs (tests/data/test_augmentation_mmseg.py).
"""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

from catalyst_cityscapes.data.augmentation.adapters.layouts import as_bytes
from catalyst_cityscapes.data.augmentation.crop_window import Span, Window
from catalyst_cityscapes.data.augmentation.lazy_sample import DecodedSample, LazySample, whole
from catalyst_cityscapes.data.augmentation.resized_window import ResizedSample
from semseg_ref.base.errors import InputError
from semseg_ref.base.image_statistics import MEAN, STD

Arrays = tuple[np.ndarray, np.ndarray]
IGNORE_INDEX = 255
REDRAWS = 10
LEVELS = np.arange(256, dtype=np.uint8)
COUNTED_EXACTLY = 1 << 24
"""Pixels up to which OpenCV's float32 histogram holds each whole number."""


def _pair(owner: str, name: str, values: Sequence[float] | np.ndarray, low: float = 1) -> tuple:
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 2 or min(values) < low:
        raise InputError(f"{owner}: {name} {values!r}: expected two numbers >= {low:g}")
    return tuple(values)


class ToBGR:
    """The reference's arrays for this module: image float32 or uint8 [H, W, 3] RGB 0..255 to uint8 BGR, rounded."""

    takes_uint8 = True

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        return _bgr(image), label

    def lazily(self, sample: LazySample) -> LazySample:
        """The call for a lazy sample."""
        return _ConvertedSample(sample, _bgr)


def _size(owner: str, name: str, size: int | Sequence[int] | np.ndarray) -> tuple[int, int]:
    # A number stands for a square.
    square = isinstance(size, Integral) and not isinstance(size, bool)
    height, width = _pair(owner, name, (size, size) if square else size)
    return int(height), int(width)


def _bgr(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(as_bytes(image), cv2.COLOR_RGB2BGR)


class _ConvertedSample:
    # A sample whose image is converted pixel by pixel.
    def __init__(self, sample: LazySample, convert: Callable[[np.ndarray], np.ndarray]) -> None:
        self.size, self.label = sample.size, sample.label
        self._image, self._convert = sample.image, convert

    def image(self, window: Window) -> np.ndarray:
        return self._convert(self._image(window))


class RandomResize:
    """Resizes into a base size times a random factor, keeping the aspect ratio. One draw.

    Args:
        scale: (width, height) of the base.
        ratio_range: (low, high) of the factor.

    Raises:
        InputError: no two numbers, or low > high.
    """

    def __init__(self, scale: Sequence[int] = (2048, 1024), ratio_range: Sequence[float] = (0.5, 2.0)) -> None:
        self.scale = _pair("RandomResize", "scale", scale)
        self.low, self.high = _pair("RandomResize", "ratio_range", ratio_range, 0)
        if not 0 < self.low <= self.high:
            raise InputError(f"RandomResize: ratio_range {ratio_range!r}: expected (low, high) with 0 < low <= high")

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        height, width = self._draw(*label.shape)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return image, cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)

    def lazily(self, sample: LazySample) -> LazySample:
        """The call for a lazy sample, of which only those windows are resized that are asked for."""
        return ResizedSample(sample, self._draw(*sample.size))

    def _draw(self, height: int, width: int) -> tuple[int, int]:
        ratio = np.random.random_sample() * (self.high - self.low) + self.low
        bounds = [int(side * ratio) for side in self.scale]
        factor = min(max(bounds) / max(height, width), min(bounds) / min(height, width))
        return int(height * factor + 0.5), int(width * factor + 0.5)


class RandomCrop:
    """Cuts a random window; one that a class fills too much of is drawn again, up to ten times. Does not pad.

    Draws row and column, both also where only one value is possible, for each window.

    Args:
        crop_size: (height, width), or both as one number; a smaller image gives a smaller window.
        cat_max_ratio: a window is taken if it holds more than one class and the largest less than this share of its
            labelled pixels; 1 takes any.
        ignore_index: label of no class.

    Raises:
        InputError: a size or share that is none.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int] = (512, 1024),
        cat_max_ratio: float = 0.75,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        self.height, self.width = _size("RandomCrop", "crop_size", crop_size)
        if not 0 < cat_max_ratio <= 1:
            raise InputError(f"RandomCrop: cat_max_ratio {cat_max_ratio!r}: expected a share above 0 and up to 1")
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        return whole(self.lazily(DecodedSample(image, label)))

    def lazily(self, sample: LazySample) -> LazySample:
        """The call for a lazy sample: the labels of the windows that are drawn are computed, and one image."""
        window = self._draw(*sample.size)
        label = sample.label(window)
        if self.cat_max_ratio < 1:
            for _ in range(REDRAWS):
                if self._is_mixed(label):
                    break
                window = self._draw(*sample.size)
                label = sample.label(window)
        return DecodedSample(sample.image(window), label)

    def _draw(self, height: int, width: int) -> Window:
        top = np.random.randint(0, max(height - self.height, 0) + 1)
        left = np.random.randint(0, max(width - self.width, 0) + 1)
        return Window(Span(top, min(top + self.height, height)), Span(left, min(left + self.width, width)))

    def _is_mixed(self, label: np.ndarray) -> bool:
        if label.dtype == np.uint8 and label.size < COUNTED_EXACTLY:
            counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        else:
            counts = np.bincount(label.ravel(), minlength=256)
        counts[self.ignore_index] = 0
        return np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio


class RandomFlip:
    """Mirrors left and right with a probability. One draw.

    Args:
        prob: from 0 to 1.

    Raises:
        InputError: no probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not isinstance(prob, Real) or not 0 <= prob <= 1:
            raise InputError(f"RandomFlip: prob {prob!r}: expected a probability from 0 to 1")
        self.prob = prob

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        if np.random.random_sample() < self.prob:
            return cv2.flip(image, 1), cv2.flip(label, 1)
        return image, label


class PhotoMetricDistortion:
    """Brightness, contrast, saturation and hue, each with probability 1/2; every one truncates to 8 bits.

    Draws a coin for each, then its amount only if the coin shows 1; a further coin after brightness says whether
    contrast comes before saturation (1) or last (0).

    Args:
        brightness_delta: largest number of grey levels that are added or taken away.
        contrast_range, saturation_range: (low, high), factors.
        hue_delta: bound of the turn in steps of two degrees, from -hue_delta to hue_delta - 1, so at least 1.

    Raises:
        InputError: a range or bound that is none.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        if not isinstance(brightness_delta, Real) or not 0 <= brightness_delta < np.inf:
            raise InputError(
                f"PhotoMetricDistortion: brightness_delta {brightness_delta!r}: expected a number of at least 0"
            )
        if not isinstance(hue_delta, Integral) or hue_delta < 1:
            raise InputError(
                f"PhotoMetricDistortion: hue_delta {hue_delta!r}: expected a whole number of at least 1; 1 turns by "
                "two degrees or not at all"
            )
        self.brightness_delta = brightness_delta
        self.contrast_range = _pair("PhotoMetricDistortion", "contrast_range", contrast_range, 0)
        self.saturation_range = _pair("PhotoMetricDistortion", "saturation_range", saturation_range, 0)
        self.hue_delta = hue_delta

    def __call__(self, image: np.ndarray, label: np.ndarray) -> Arrays:
        table = LEVELS
        if np.random.randint(2):
            table = _linear(table, beta=np.random.uniform(-self.brightness_delta, self.brightness_delta))
        contrast_first = np.random.randint(2)
        if contrast_first:
            table = self._contrast(table)
        image = _looked_up(as_bytes(image), table)
        if np.random.randint(2):
            image = _changed_in_hsv(image, 1, _linear(LEVELS, alpha=np.random.uniform(*self.saturation_range)))
        if np.random.randint(2):
            turn = np.random.randint(-self.hue_delta, self.hue_delta)
            image = _changed_in_hsv(image, 0, ((LEVELS.astype(int) + turn) % 180).astype(np.uint8))
        return image if contrast_first else _looked_up(image, self._contrast(LEVELS)), label

    def _contrast(self, table: np.ndarray) -> np.ndarray:
        return _linear(table, alpha=np.random.uniform(*self.contrast_range)) if np.random.randint(2) else table


def _linear(values: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
    return np.clip(values.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)


def _looked_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return image if table is LEVELS else cv2.LUT(image, table)


def _changed_in_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    # OpenCV's 8-bit HSV: hue 0..179, saturation and value 0..255. Rounds to 8 bits on the way there and back.
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


class Pack:
    """Image to a uint8 tensor [3, H, W], still BGR, and label to an int64 tensor [1, H, W]."""

    def __call__(self, image: np.ndarray, label: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.stack(cv2.split(image))), torch.from_numpy(label[None].astype(np.int64))


def normalize_and_pad(
    image: Any,
    label: Any,
    size: int | Sequence[int],
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    ignore_index: int = IGNORE_INDEX,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What mmsegmentation's preprocessor makes of a sample: RGB, normalised, then padded at the right and the bottom.

    Args:
        image: BGR in grey levels, uint8, array [H, W, 3] or tensor [3, H, W]; another step's floats are taken too.
        label: array [H, W] or tensor [1, H, W].
        size: (height, width) to pad to, or both as one number; a larger image stays as it is.
        mean, std: one value a channel in grey levels, RGB.
        ignore_index: label of the padding; the image's is 0, the mean.

    Returns:
        float32 [3, h, w] and int64 [h, w].
    """
    if isinstance(image, np.ndarray):
        image, label = Pack()(image, label)
    size, label = _size("normalize_and_pad", "size", size), label[0]
    h, w = label.shape
    means, stds = (torch.tensor(list(values), dtype=torch.float32)[:, None] for values in (mean, std))
    padded = torch.zeros(3, max(size[0], h), max(size[1], w))
    if image.dtype == torch.uint8:
        tables = ((torch.arange(256, dtype=torch.float32) - means) / stds).numpy()
        for plane, source, table in zip(padded.numpy(), image.numpy()[::-1], tables, strict=True):
            cv2.LUT(source, table, dst=plane[:h, :w])
    else:
        padded[:, :h, :w] = (image[[2, 1, 0]].float() - means[..., None]) / stds[..., None]
    border = (0, padded.shape[2] - w, 0, padded.shape[1] - h)
    return padded, functional.pad(label, border, value=ignore_index)


class NormalizeAndPad:
    """`normalize_and_pad` as the last step of a recipe; its arguments are that function's.

    Raises:
        InputError: a size that is none, or mean or std that are not three values, std not 0.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        self.size = _size("NormalizeAndPad", "size", size)
        if len(mean) != 3 or len(std) != 3 or 0 in std:
            raise InputError(f"NormalizeAndPad: mean {mean!r}, std {std!r}: expected three values each, std not 0")
        self.mean, self.std, self.ignore_index = mean, std, ignore_index

    def __call__(self, image: Any, label: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return normalize_and_pad(image, label, self.size, self.mean, self.std, self.ignore_index)
