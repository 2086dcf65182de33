"""Samples of which only the pixels that are asked for are read or computed: what augmenting a crop alone rests on.

A step that can work on a part of the image has a method `lazily(sample) -> sample` beside its call: it draws what it
draws there, and returns a sample whose windows it computes when they are asked for, with the bits that the whole image
would have. A transform that needs no whole image says `crop_first = True` and has `computed_from(sample)`; the data
set then hands it a sample whose rows are decoded on demand.
"""

from typing import Protocol

import numpy as np

from catalyst_cityscapes.data.augmentation.crop_window import Span, Window


class LazySample(Protocol):
    """An image and its label.

    Attributes:
        size: (height, width).
    """

    size: tuple[int, int]

    def image(self, window: Window) -> np.ndarray:
        """Its pixels in a window, [h, w, 3]; not to be written to."""

    def label(self, window: Window) -> np.ndarray:
        """Its classes in a window, uint8 [h, w]; not to be written to."""


class DecodedSample:
    """Arrays as a lazy sample.

    Args:
        image: [H, W, 3].
        label: uint8 [H, W].
    """

    def __init__(self, image: np.ndarray, label: np.ndarray) -> None:
        self.size: tuple[int, int] = label.shape
        self._image, self._label = image, label

    def image(self, window: Window) -> np.ndarray:
        """See `LazySample`."""
        return self._image[window.slices]

    def label(self, window: Window) -> np.ndarray:
        """See `LazySample`."""
        return self._label[window.slices]


def whole(sample: LazySample) -> tuple[np.ndarray, np.ndarray]:
    """The image and the label of a sample, all of them."""
    window = Window(Span(0, sample.size[0]), Span(0, sample.size[1]))
    return sample.image(window), sample.label(window)
