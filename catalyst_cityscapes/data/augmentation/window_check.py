"""Whether the installed OpenCV gives a window of an image the bits that it gives the whole image."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from catalyst_cityscapes.data.augmentation.crop_window import (
    Rotation,
    Span,
    Window,
    blur_source,
    blurred,
    scaled_image,
    scaled_label,
)

SIZE = (83, 149)
FACTORS = (0.61, 1.03, 1.87)
ANGLES = (-8.7, 3.1)
PADDING = (123.675, 116.28, 103.53)
IGNORE = 255


class UnequalWindows(NamedTuple):
    """Operations whose windows differ from the whole image."""

    scale: bool = False
    rotate: bool = False
    blur: bool = False


@cache
def unequal_windows(kernel: int) -> UnequalWindows:
    """Compares windows with the whole on a small image of noise, in some milliseconds, once a process.

    Args:
        kernel: size of the blur's kernel.
    """
    noise = np.random.default_rng(0)
    image = noise.integers(0, 256, (*SIZE, 3), np.uint8)
    label = noise.integers(0, 256, SIZE, np.uint8)
    return UnequalWindows(
        scale=not all(_scales_alike(image, label, factor) for factor in FACTORS),
        rotate=not all(_rotates_alike(image, label, Rotation(angle, *SIZE)) for angle in ANGLES),
        blur=not _blurs_alike(image, kernel),
    )


def _windows(height: int, width: int) -> Iterable[Window]:
    # The corners, one in the middle, and everything.
    rows = (Span(0, height // 2), Span(height // 3, height - 2), Span(height // 2, height))
    columns = (Span(0, width // 2), Span(width // 3, width - 2), Span(width // 2, width))
    yield from (Window(r, c) for r in rows for c in columns)
    yield Window(Span(0, height), Span(0, width))


def _alike(whole: np.ndarray, of_window: Callable[[Window], np.ndarray]) -> bool:
    return all(np.array_equal(of_window(w), whole[w.slices]) for w in _windows(*whole.shape[:2]))


def _scales_alike(image: np.ndarray, label: np.ndarray, factor: float) -> bool:
    factors = {"fx": factor, "fy": factor}
    whole = cv2.resize(np.float32(image), None, **factors, interpolation=cv2.INTER_LINEAR)
    whole_label = cv2.resize(label, None, **factors, interpolation=cv2.INTER_NEAREST)
    return _alike(whole, lambda w: scaled_image(image, factor, w)) and _alike(
        whole_label, lambda w: scaled_label(label, factor, w)
    )


def _rotates_alike(image: np.ndarray, label: np.ndarray, rotation: Rotation) -> bool:
    pixels = np.float32(image)

    def of_image(window: Window) -> np.ndarray:
        source = rotation.source(window, interpolated=True)
        return rotation.image(pixels[source.slices], source, window, PADDING)

    def of_label(window: Window) -> np.ndarray:
        source = rotation.source(window, interpolated=False)
        return rotation.label(label[source.slices], source, window, IGNORE)

    return _alike(rotation.whole_image(pixels, PADDING), of_image) and _alike(
        rotation.whole_label(label, IGNORE), of_label
    )


def _blurs_alike(image: np.ndarray, kernel: int) -> bool:
    pixels = np.float32(image)

    def of_image(window: Window) -> np.ndarray:
        source = blur_source(window, SIZE, kernel)
        return blurred(pixels[source.slices], source, window, kernel)

    return _alike(cv2.GaussianBlur(pixels, (kernel, kernel), 0), of_image)
