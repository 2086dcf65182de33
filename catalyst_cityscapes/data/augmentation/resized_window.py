"""8-bit images and labels that OpenCV resizes to an explicit size, computed for a window of the result, bit for bit.

As in `crop_window`, the window is computed by OpenCV's own code on a piece of the image that begins at its first row
and column, where the sampling grid starts, and ends a margin after the window. The piece is resized by the factors of
the whole image (result / image, in double precision, what OpenCV makes of an explicit size itself), so that each pixel
has the same position and the same 11-bit weights; the sums are whole numbers, so that no bit depends on the way they
are vectorised. Nearest pixels are taken with the same positions by indexing.

Source of the arithmetic: OpenCV 4.5 to 4.11, modules/imgproc/src/resize.cpp, read for the formulas; `windows_are_equal`
compares with the installed OpenCV, and where a window differs the whole image is resized.
"""

import math
from functools import cache

import cv2
import numpy as np

from catalyst_cityscapes.data.augmentation.crop_window import Span, Window
from catalyst_cityscapes.data.augmentation.lazy_sample import DecodedSample, LazySample, whole

MARGIN = 4
CHECKED_SIZE = (41, 67)
CHECKED_RESULTS = (  # smaller and larger; half of it, by OpenCV's averages; one that keeps a side
    (41, 67),
    (20, 33),
    (25, 40),
    (43, 70),
    (82, 134),
    (77, 126),
    (41, 68),
)


class ResizedSample:
    """A sample resized to an explicit size: image bilinear, label nearest, as `cv2.resize` does.

    Args:
        sample: what is resized.
        size: (height, width) of the result, both > 0.
    """

    def __init__(self, sample: LazySample, size: tuple[int, int]) -> None:
        self.sample, self.size = sample, size

    def image(self, window: Window) -> np.ndarray:
        """See `LazySample`; images that are not 8-bit are resized whole."""
        if windows_are_equal():
            found = image_window(self.sample, self.size, window)
            if found.dtype == np.uint8:
                return found
        image, _ = whole(self.sample)
        return cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_LINEAR)[window.slices]

    def label(self, window: Window) -> np.ndarray:
        """See `LazySample`."""
        if windows_are_equal():
            return label_window(self.sample, self.size, window)
        _, label = whole(self.sample)
        return cv2.resize(label, self.size[::-1], interpolation=cv2.INTER_NEAREST)[window.slices]


def image_window(sample: LazySample, size: tuple[int, int], window: Window) -> np.ndarray:
    """A window of `cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)`, image uint8 [H, W, 3].

    Args:
        sample: holds the image.
        size: (height, width) of the result.
        window: of the result, not empty.
    """
    if tuple(size) == tuple(sample.size):
        return sample.image(window)
    factors = [new / old for old, new in zip(sample.size, size, strict=True)]
    stops = [
        min(old, math.ceil((span.stop + MARGIN) / factor) + 2)
        for old, factor, span in zip(sample.size, factors, window, strict=True)
    ]
    if stops == [round(stop * factor) for stop, factor in zip(stops, factors, strict=True)]:
        stops = sample.size  # OpenCV copies what keeps its size, and the whole image does not
    piece = sample.image(Window(Span(0, stops[0]), Span(0, stops[1])))
    return cv2.resize(piece, None, fx=factors[1], fy=factors[0], interpolation=cv2.INTER_LINEAR)[window.slices]


def label_window(sample: LazySample, size: tuple[int, int], window: Window) -> np.ndarray:
    """A window of `cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)`, uint8; arguments as above."""
    rows, columns = (
        np.minimum(np.floor(np.arange(*span) * (1 / (new / old))).astype(np.intp), old - 1)
        for old, new, span in zip(sample.size, size, window, strict=True)
    )
    source = Window(*(Span(int(positions[0]), int(positions[-1]) + 1) for positions in (rows, columns)))
    piece = sample.label(source)
    return piece.take(rows - source.rows.start, axis=0).take(columns - source.columns.start, axis=1)


@cache
def windows_are_equal() -> bool:
    """Whether the installed OpenCV gives windows the bits of the whole result; a millisecond, once a process."""
    noise = np.random.default_rng(0)
    image = noise.integers(0, 256, (*CHECKED_SIZE, 3), np.uint8)
    label = noise.integers(0, 256, CHECKED_SIZE, np.uint8)
    sample = DecodedSample(image, label)
    for size in CHECKED_RESULTS:
        resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        classes = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
        # The corners, one in the middle, and others between.
        rows, columns = ((Span(0, side // 2), Span(side // 3, side - 2), Span(side // 2, side)) for side in size)
        for window in (Window(r, c) for r in rows for c in columns):
            if not np.array_equal(image_window(sample, size, window), resized[window.slices]):
                return False
            if not np.array_equal(label_window(sample, size, window), classes[window.slices]):
                return False
    return True
