"""How large an image says it is, from its header: a file of a few bytes can ask for all of a machine's memory."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from semseg_ref.base.errors import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
MAX_PIXELS = 1 << 26
"""67 million, 8192 x 8192: thirty times a street scene; as float32 RGB that is 0.8 GB."""

NO_SIZE_IN_FRAME = (0xC4, 0xC8, 0xCC)
_BARE_MARKERS = (0x01, *range(0xD0, 0xD8))


def check_pixels(height: int, width: int, path: str | Path) -> None:
    """Raises DataError for an image that claims more than `MAX_PIXELS` pixels, or none."""
    if not 0 < height * width <= MAX_PIXELS or height < 0:
        raise DataError(f"{path}: claims {height} x {width} pixels, expected 1 to {MAX_PIXELS}; refused undecoded")


def declared_size(content: bytes, path: str | Path) -> tuple[int, int]:
    """Height and width that an image file's header states. Nothing is decoded.

    Args:
        content: the whole file; PNG, JPEG, or another format that Pillow knows.
        path: for the message.

    Raises:
        DataError: no such header, or a size outside 1 to `MAX_PIXELS` pixels.
    """
    if content.startswith(PNG_SIGNATURE) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
    elif content.startswith(JPEG_SIGNATURE):
        height, width = _jpeg_size(content, path)
    else:
        height, width = _other_size(content, path)
    check_pixels(height, width, path)
    return height, width


def _jpeg_size(content: bytes, path: str | Path) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF or marker in _BARE_MARKERS:
            position += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in NO_SIZE_IN_FRAME:
            return struct.unpack(">HH", content[position + 5 : position + 9])
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    raise no_image(path)


def _other_size(content: bytes, path: str | Path) -> tuple[int, int]:
    with picture_header(io.BytesIO(content), path) as picture:
        return picture.height, picture.width


@contextmanager
def picture_header(file: BinaryIO, path: str | Path) -> Iterator[Image.Image]:
    """An image file opened by Pillow, nothing of it decoded.

    Raises:
        DataError: Pillow finds no image, or one that claims far too many pixels; also for what goes wrong in the block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as picture:
                yield picture
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: claims more than {MAX_PIXELS} pixels; refused undecoded") from error
    except Exception as error:  # Pillow's plugins raise nearly every type on damaged bytes
        raise no_image(path) from error


def no_image(path: str | Path) -> DataError:
    """The error for bytes that are no image."""
    return DataError(f"{path}: damaged, or in no image format that OpenCV reads")
