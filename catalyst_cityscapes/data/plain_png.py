"""PNG files of the plainest kind, decoded twice as fast as by OpenCV, and only as far down as rows are wanted.

Rows of a PNG follow one another in one compressed stream, so a file whose header says `n` rows is the picture of the
first `n`; the decoder stops there. The decoder is the `png` crate in kornia-rs, if that is installed; it is memory-safe
and no part of the reference, so `plain_png` takes only files of which its pixels are known to be OpenCV's
(tests/data/test_plain_png.py): 8 bits a sample, RGB or grey, not interlaced, no chunk that changes pixels, all
checksums right. For everything else it returns None and the caller asks OpenCV, whose messages are the ones that people
see.

What is not noticed where rows are left out: a stream that goes wrong after them although the checksums of its chunks
are right. A file that was cut off or changed after it was written is noticed.
"""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from semseg_ref.base.safe.image_header import MAX_PIXELS, PNG_SIGNATURE

try:
    from kornia_rs.io import decode_image_png_u8
except ImportError:  # absent, or a version that has the function elsewhere
    decode_image_png_u8 = None

CHANNELS = {0: 1, 2: 3}
"""By PNG colour type: grey and RGB."""
MODES = {1: "mono", 3: "rgb"}
HEADER = struct.Struct(">IIBBBBB")
"""Width, height, bits a sample, colour type, compression, filter, interlacing."""
HEADER_END = 33
"""Signature, and the header's chunk."""
NEITHER_DECODER_APPLIES = frozenset((b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"tEXt", b"tIME", b"bKGD"))
EXIF_IN_TEXT = b"Raw profile"
"""How a text chunk with an orientation begins."""
DEFLATE_32K = b"\x78"
"""First byte of a stream that may look back 32 KB: in others OpenCV refuses what looks back too far."""
CHECK_SIZE = (64, 200)


class PlainPng(NamedTuple):
    """A checked file of the plainest kind.

    Attributes:
        content: the whole file.
        height, width: in pixels.
        channels: 1 or 3.
    """

    content: bytes
    height: int
    width: int
    channels: int

    def rows(self, count: int) -> np.ndarray | None:
        """The first rows, uint8 [count, W] or [count, W, 3], RGB; None where the stream is damaged before their end.

        Args:
            count: 1 to `height`.
        """
        content = self.content if count == self.height else _with_height(self.content, count)
        try:
            pixels = decode_image_png_u8(content, (count, self.width), MODES[self.channels])
        except Exception:  # its only type; what is wrong is OpenCV's to say
            return None
        return pixels[:, :, 0] if self.channels == 1 else pixels


def plain_png(path: str | Path, channels: int) -> PlainPng | None:
    """A PNG of 8-bit RGB (3 channels) or grey (1), if the file is one and can be decoded here; else None.

    Nothing is decoded yet. None stands for another kind or format, a damaged, missing or too large file, and a machine
    without a decoder whose pixels are OpenCV's.
    """
    if not has_decoder():
        return None
    try:
        with open(path, "rb") as file:
            start = file.read(HEADER_END)
            size = _plain_size(start, channels)
            content = start + file.read() if size else b""
    except (OSError, ValueError):
        return None
    if size is None or not _has_plain_chunks(content):
        return None
    return PlainPng(content, *size, channels)


@cache
def has_decoder() -> bool:
    """Whether the fast decoder is installed and gives OpenCV's pixels for two small pictures; asked once a process."""
    return decode_image_png_u8 is not None and _decodes_as_opencv(decode_image_png_u8)


def _decodes_as_opencv(decode: Callable[..., Any]) -> bool:
    noise = np.random.default_rng(0)
    height, width = CHECK_SIZE
    try:
        for channels in MODES:
            whole = noise.integers(0, 256, (height, width, channels), np.uint8)
            content = cv2.imencode(".png", whole)[1].tobytes()
            for count in (height, height // 3):
                rows = decode(_with_height(content, count), (count, width), MODES[channels])
                if rows.dtype != np.uint8 or not np.array_equal(rows[..., ::-1], whole[:count]):
                    return False
    except Exception:  # of another version: whatever it raises, it is not the decoder that was tried
        return False
    return True


def _with_height(content: bytes, height: int) -> bytes:
    header = b"IHDR" + content[16:20] + struct.pack(">I", height) + content[24 : HEADER_END - 4]
    return b"".join((content[:12], header, struct.pack(">I", zlib.crc32(header)), memoryview(content)[HEADER_END:]))


def _plain_size(start: bytes, channels: int) -> tuple[int, int] | None:
    # Height and width, if the first chunk is the header of a kind that is decoded here.
    if len(start) < HEADER_END or not start.startswith(PNG_SIGNATURE + b"\x00\x00\x00\rIHDR"):
        return None
    width, height, depth, colour_type, *methods = HEADER.unpack(start[16 : HEADER_END - 4])
    if depth != 8 or CHANNELS.get(colour_type) != channels or any(methods):
        return None
    return (height, width) if 0 < height * width <= MAX_PIXELS else None


def _has_plain_chunks(content: bytes) -> bool:
    # Header, image data in one piece, end; harmless chunks between them; every checksum right.
    view, position, previous = memoryview(content), len(PNG_SIGNATURE), b""
    expected = list(reversed((b"IHDR", b"IDAT", b"IEND")))
    while expected and position + 12 <= len(content):
        length = int.from_bytes(view[position : position + 4], "big")
        body = view[position + 4 : position + 8 + length]
        position += 12 + length
        if position > len(content) or zlib.crc32(body) != int.from_bytes(view[position - 4 : position], "big"):
            return False
        kind = bytes(body[:4])
        goes_on = kind == previous == b"IDAT"
        previous = kind
        if goes_on or (kind in NEITHER_DECODER_APPLIES and bytes(body[4:15]) != EXIF_IN_TEXT):
            continue
        if kind != expected.pop() or (kind == b"IDAT" and body[4:5] != DEFLATE_32K):
            return False
    return not expected and position == len(content)
