"""Image and label files of many formats, in memory."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

INDICES = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 19
"""A label of 12 x 16 pixels that holds all of 19 classes."""


def encoded(array: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    """An array or a picture as a file of Pillow's format `kind`."""
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def by_opencv(array: np.ndarray, ending: str = ".tiff") -> bytes:
    """An array as a file of OpenCV's, which writes types that Pillow does not."""
    return cv2.imencode(ending, array)[1].tobytes()


def palette(colors: list[int]) -> Image.Image:
    """`INDICES` with a palette."""
    picture = Image.frombytes("P", INDICES.shape[::-1], INDICES.tobytes())
    picture.putpalette(colors)
    return picture


def oriented(array: np.ndarray, kind: str, orientation: int, **options) -> bytes:
    """A file with an EXIF orientation (a tag of its own in TIFF)."""
    if kind == "TIFF":
        return encoded(array, kind, tiffinfo={0x0112: orientation}, **options)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(array, kind, exif=exif, **options)


def late_orientation(array: np.ndarray, orientation: int) -> bytes:
    """A PNG whose orientation stands after its pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    plain, chunk = encoded(array, "PNG"), struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return plain[:-12] + chunk + plain[-12:]
