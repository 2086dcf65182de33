"""Sizes, borders and windows of an image under a protocol: the reference's rules, and those of other families."""

import math

from semseg_ref.protocol import WHOLE_IMAGE, Protocol, padding, scaled_size, window_positions


def views(protocol: Protocol) -> list[tuple[float, bool]]:
    """What an image is tested as: (scale, whether the whole image is mirrored), scale after scale, plain ones first."""
    mirrors = (False, True) if protocol.flip and protocol.mirrored == "image" else (False,)
    return [(scale, mirrored) for scale in protocol.scales for mirrored in mirrors]


def size_at(protocol: Protocol, height: int, width: int, scale: float) -> tuple[int, int]:
    """(height, width) of an image at a scale, before it is padded; at least 1 pixel each."""
    base, is_half_up = protocol.base_size, protocol.rounding == "half_up"
    if isinstance(base, int) and not is_half_up:
        sides = scaled_size(height, width, scale, base)
    else:
        factor = scale * _factor(base, height, width)
        sides = tuple(int(side * factor + 0.5) if is_half_up else round(side * factor) for side in (height, width))
    return max(sides[0], 1), max(sides[1], 1)


def _factor(base: int | tuple[int, int] | str, height: int, width: int) -> float:
    if isinstance(base, str):
        return 1.0
    if isinstance(base, int):
        return base / max(height, width)
    return min(max(base) / max(height, width), min(base) / min(height, width))


def scale_of_test(protocol: Protocol, size: tuple[int, int]) -> float:
    """Test pixels per native pixel at scale 1, of an image of `size` (height, width)."""
    return _factor(protocol.base_size, *size)


def border(protocol: Protocol, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) pixels that an image at its scale is padded by."""
    if protocol.pad_to == "none":
        return 0, 0, 0, 0
    least = protocol.crop
    if isinstance(protocol.pad_to, int):
        least = tuple(-(-side // protocol.pad_to) * protocol.pad_to for side in (height, width))
    top, bottom, left, right = padding(height, width, least)
    return (top, bottom, left, right) if protocol.pad_at == "centre" else (0, top + bottom, 0, left + right)


def windows(protocol: Protocol, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Windows (top, bottom, left, right) over a padded image, row by row; ends are exclusive.

    A side that is shorter than the crop's gives windows of its own length.
    """
    if protocol.crop == WHOLE_IMAGE:
        return [(0, height, 0, width)]
    if protocol.pad_to == "crop" and protocol.stride is None:
        return window_positions(height, width, protocol.crop, protocol.stride_rate)
    strides = protocol.stride or tuple(math.ceil(side * protocol.stride_rate) for side in protocol.crop)
    rows, columns = (
        _spans(size, min(side, size), stride)
        for size, side, stride in zip((height, width), protocol.crop, strides, strict=True)
    )
    return [(*row, *column) for row in rows for column in columns]


def _spans(size: int, side: int, stride: int) -> list[tuple[int, int]]:
    """Windows on one axis; the last is shifted back to end at the border."""
    starts = [min(k * stride, size - side) for k in range(math.ceil((size - side) / stride) + 1)]
    return [(start, start + side) for start in starts]
