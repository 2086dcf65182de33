"""The reference's scale, rotation and blur on OpenCV, computed for a window of their result only, bit for bit.

A window is computed by the same OpenCV code as the whole image, on a piece of it that is chosen so that no bit can
change:

* scaling: the piece begins at the image's first row and column, since the sampling grid starts there and moves by
  1 / factor a pixel; it ends a margin after the window;
* rotation: OpenCV warps on a fixed-point grid, 1/1024 pixel along each axis and 1/32 pixel for interpolating. That grid
  is rebuilt with whole numbers, shifted by whole pixels, and given to `cv2.remap`, whose kernel `cv2.warpAffine` uses;
* blur: the piece has a halo around the window; at the image's borders it ends there too, so that they are mirrored
  alike.

Vector code treats the last few values of a row apart, with another rounding of the last bit. Margins keep those
out of the window, or, at the image's right border, the piece starts at a multiple of `ALIGNMENT`.

Images that these functions return lie in memory that the thread's next call of the same function uses again.

Sources of the arithmetic: OpenCV 4.5 to 4.11, modules/imgproc/src (resize, imgwarp, filter), read for the formulas;
`window_check` compares with the installed OpenCV.
"""

import math
import threading
from typing import NamedTuple

import cv2
import numpy as np

MARGIN = 16
ALIGNMENT = 16
COORDINATE_BITS = 10
TABLE_BITS = 5
LARGEST_SIDE = 16384
"""Of a canvas to rotate: pixel positions are int16 in `cv2.remap`, and a corner may lie outside the canvas."""


class Span(NamedTuple):
    """Rows or columns `start <= i < stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of rows or columns."""
        return self.stop - self.start

    def widened(self, by: int, size: int) -> "Span":
        """`by` more on both sides, within 0..size."""
        return Span(max(self.start - by, 0), min(self.stop + by, size))

    def mirrored(self, size: int) -> "Span":
        """The same span counted from the other end."""
        return Span(size - self.stop, size - self.start)


class _Memory(threading.local):
    # Arrays of tens of megabytes go back to the system when they are freed, and getting them again (page by page,
    # zeroed) was measured to cost more than the scaling itself.
    def __init__(self) -> None:
        self._held: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        if name not in self._held or self._held[name].size < size:
            self._held[name] = np.empty(size, np.float32)
        return self._held[name][:size].reshape(shape)


_memory = _Memory()


class Window(NamedTuple):
    """A rectangle of pixels."""

    rows: Span
    columns: Span

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing [H, W, ...]."""
        return slice(*self.rows), slice(*self.columns)

    def within(self, other: "Window") -> tuple[slice, slice]:
        """Slices of this window in an array that holds the larger window `other`."""
        top, left = self.rows.start - other.rows.start, self.columns.start - other.columns.start
        return slice(top, top + self.rows.length), slice(left, left + self.columns.length)


def scaled_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """(height, width) of an image that OpenCV scales by a factor: rounded half to even."""
    return round(height * factor), round(width * factor)


def scaled_image(image: np.ndarray, factor: float, window: Window, size: tuple[int, int] | None = None) -> np.ndarray:
    """A window of `cv2.resize(np.float32(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)`.

    Args:
        image: uint8 or float32 [H, W, 3], or its first rows, at least `rows_needed`.
        factor: > 0.
        window: of the scaled image, not empty.
        size: (height, width) of the whole image; None: `image` is all of it.

    Returns:
        float32 [h, w, 3].
    """
    size = size or image.shape[:2]
    if scaled_size(*size, factor) == tuple(size):
        return np.float32(image[window.slices])
    height, width = _piece(size, factor, window)
    piece = image[:height, :width]
    pixels = _memory.take("pixels", piece.shape)
    np.copyto(pixels, piece)
    scaled = _memory.take("scaled", (*scaled_size(*piece.shape[:2], factor), 3))
    scaled = cv2.resize(pixels, None, dst=scaled, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return scaled[window.slices]


def rows_needed(size: tuple[int, int], factor: float, window: Window) -> int:
    """First rows of an image [H, W] = `size`, or of its label, that a window of the scaled one is made of."""
    if scaled_size(*size, factor) == tuple(size):
        return window.rows.stop
    return _piece(size, factor, window)[0]


def _piece(size: tuple[int, int], factor: float, window: Window) -> tuple[int, int]:
    # The first rows and columns that are scaled.
    piece = _needed(size[0], factor, window.rows.stop), _needed(size[1], factor, window.columns.stop)
    # OpenCV copies where the size stays the same, and the whole image's does not.
    return size if scaled_size(*piece, factor) == piece else piece


def _needed(size: int, factor: float, stop: int) -> int:
    return min(size, math.ceil((stop + MARGIN) / factor) + 2)


def scaled_label(label: np.ndarray, factor: float, window: Window, size: tuple[int, int] | None = None) -> np.ndarray:
    """A window of `cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)`; uint8 [h, w].

    Args:
        label: uint8 [H, W], or its first rows, at least `rows_needed`.
        factor, window, size: see `scaled_image`.
    """
    height, width = size or label.shape
    if scaled_size(height, width, factor) == (height, width):
        return label[window.slices]
    rows, columns = _nearest(height, factor, window.rows), _nearest(width, factor, window.columns)
    return label.take(rows, axis=0).take(columns, axis=1)


def _nearest(size: int, factor: float, span: Span) -> np.ndarray:
    return np.minimum(np.floor(np.arange(*span) * (1 / factor)).astype(np.intp), size - 1)


class Rotation:
    """`cv2.warpAffine` by an angle about (width / 2, height / 2) on the same canvas, for windows of its result.

    Args:
        angle: degrees, positive is counter-clockwise.
        height, width: of the canvas, at most `LARGEST_SIDE`.
    """

    def __init__(self, angle: float, height: int, width: int) -> None:
        self.size = (height, width)
        self.forward = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
        self.inverse = cv2.invertAffineTransform(self.forward)

    def _grid(self, window: Window, rounding: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        # For x and for y: the parts of the source position that depend on the row and on the column, in 1/1024 pixel.
        unit = 1 << COORDINATE_BITS
        rows, columns = np.arange(*window.rows), np.arange(*window.columns)
        return tuple(
            (np.rint((b * rows + c) * unit).astype(np.int64) + rounding, np.rint(a * columns * unit).astype(np.int64))
            for a, b, c in self.inverse
        )

    def source(self, window: Window, interpolated: bool) -> Window:
        """The window of the unrotated canvas that holds every pixel which a window of the rotated one is made of."""
        (x_row, x_column), (y_row, y_column) = self._grid(window, _rounding(interpolated))
        spans = []
        for row, column, size in ((y_row, y_column, self.size[0]), (x_row, x_column, self.size[1])):
            first = int(row.min() + column.min()) >> COORDINATE_BITS
            last = (int(row.max() + column.max()) >> COORDINATE_BITS) + (1 if interpolated else 0)
            # A window in the empty corner needs no pixel at all; one is kept, since OpenCV refuses empty images.
            first = min(max(first, 0), size - 1)
            spans.append(Span(first, max(min(last + 1, size), first + 1)))
        return Window(*spans)

    def image(self, piece: np.ndarray, source: Window, window: Window, padding: tuple[float, ...]) -> np.ndarray:
        """A window of the rotated image, bilinear, `padding` outside.

        Args:
            piece: float32 [h, w, 3], the unrotated image's window `source`.
            source: `self.source(window, interpolated=True)` or a larger one.
            window: of the rotated image.
            padding: colour outside the image, one value a channel.
        """
        x, y = self._positions(window, source, interpolated=True)
        pixels = _whole_pixels(x, y)
        fraction = y.view(np.uint16)[:, ::2] >> (16 - TABLE_BITS) << TABLE_BITS
        fraction |= x.view(np.uint16)[:, ::2] >> (16 - TABLE_BITS)
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": padding}
        rotated = _memory.take("rotated", (*pixels.shape[:2], 3))
        return cv2.remap(piece, pixels, fraction, cv2.INTER_LINEAR, dst=rotated, **border)

    def label(self, piece: np.ndarray, source: Window, window: Window, ignore_label: int) -> np.ndarray:
        """The same of a label uint8 [h, w]: nearest pixel, `ignore_label` outside."""
        pixels = _whole_pixels(*self._positions(window, source, interpolated=False))
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": ignore_label}
        return cv2.remap(piece, pixels, None, cv2.INTER_NEAREST, **border)

    def whole_image(self, image: np.ndarray, padding: tuple[float, ...]) -> np.ndarray:
        """The whole rotated image, by `cv2.warpAffine`."""
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": padding}
        return cv2.warpAffine(image, self.forward, self.size[::-1], flags=cv2.INTER_LINEAR, **border)

    def whole_label(self, label: np.ndarray, ignore_label: int) -> np.ndarray:
        """The whole rotated label, by `cv2.warpAffine`."""
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": ignore_label}
        return cv2.warpAffine(label, self.forward, self.size[::-1], flags=cv2.INTER_NEAREST, **border)

    def _positions(self, window: Window, source: Window, interpolated: bool) -> list[np.ndarray]:
        # Shifted up so that the upper half of each int32 is the pixel and the lower half the fraction.
        shift = 16 - COORDINATE_BITS
        grids = self._grid(window, _rounding(interpolated))
        origins = (source.columns.start, source.rows.start)
        return [
            np.add.outer(
                ((row - (origin << COORDINATE_BITS)) << shift).astype(np.int32), (column << shift).astype(np.int32)
            )
            for (row, column), origin in zip(grids, origins, strict=True)
        ]


def _rounding(interpolated: bool) -> int:
    unit = 1 << COORDINATE_BITS
    return unit >> TABLE_BITS >> 1 if interpolated else unit >> 1


def _whole_pixels(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    pixels = np.empty((*x.shape, 2), np.int16)
    pixels[..., 0] = x.view(np.int16)[:, 1::2]
    pixels[..., 1] = y.view(np.int16)[:, 1::2]
    return pixels


def blur_source(window: Window, size: tuple[int, int], kernel: int) -> Window:
    """The window of an unblurred image [H, W] = `size` that `blurred` needs for a window of the blurred one."""
    height, width = size
    rows = window.rows.widened(kernel // 2, height)
    columns = window.columns.widened(kernel // 2 + MARGIN, width)
    return Window(rows, Span(columns.start - columns.start % ALIGNMENT, columns.stop))


def blurred(piece: np.ndarray, source: Window, window: Window, kernel: int) -> np.ndarray:
    """A window of `cv2.GaussianBlur(image, (kernel, kernel), 0)`.

    Args:
        piece: float32 [h, w, 3], the image's window `source`.
        source: from `blur_source`.
        window: of the blurred image.
        kernel: odd.
    """
    result = _memory.take("blurred", piece.shape)
    return cv2.GaussianBlur(piece, (kernel, kernel), 0, dst=result)[window.within(source)]


def mirrored(piece: np.ndarray) -> np.ndarray:
    """`cv2.flip(piece, 1)` of float32 [h, w, 3]."""
    return cv2.flip(piece, 1, dst=_memory.take("mirrored", piece.shape))
