"""Label images: PNG files of one byte a pixel, written quickly, read strictly."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from semseg_ref.base.errors import DataError
from semseg_ref.base.safe.image_header import MAX_PIXELS, PNG_SIGNATURE, check_pixels


def encode_png(label: np.ndarray) -> bytes:
    """A label, uint8 [H, W], as a grey PNG; equal labels give equal bytes.

    Each row is stored as its difference from the row above, which for labels is nearly all zeros, so that run lengths
    alone compress better than the default of Pillow (about 13 against 15 KB for a street scene of 2048 x 1024), in a
    quarter of its time.
    """
    height, width = label.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = 2
    rows[0, 1:] = label[0]
    np.subtract(label[1:], label[:-1], out=rows[1:, 1:])
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = compressor.compress(rows) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_size(head: bytes, path: str | Path) -> tuple[int, int]:
    """Height and width from the first bytes (at least 24) of a PNG file.

    Raises:
        DataError: no PNG, or more than `MAX_PIXELS` pixels.
    """
    if head[:8] != PNG_SIGNATURE or len(head) < 24:
        raise DataError(f"{path}: not a PNG file")
    width, height = struct.unpack(">II", head[16:24])
    check_pixels(height, width, path)
    return height, width


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file, from its header; a PNG must also reach its end.

    Raises:
        DataError: missing, empty, in no known format, too large, or a PNG that ends early.
    """
    try:
        with path.open("rb") as file:
            head = file.read(24)
            if head[:8] == PNG_SIGNATURE:
                size = png_size(head, path)
                length = file.seek(0, io.SEEK_END)
                file.seek(max(length - 64, 0))
                if b"IEND" not in file.read():
                    raise DataError(f"{path}: the file ends early (truncated after {length} bytes)")
                return size
            file.seek(0)
            with Image.open(file) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: claims more than {MAX_PIXELS} pixels; refused undecoded") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    check_pixels(height, width, path)
    return height, width


def decode_indices(content: bytes, path: str | Path) -> np.ndarray:
    """The class indices of a label file, uint8 [H, W]: grey values, or a palette's indices.

    Raises:
        DataError: damaged or truncated, too large, or not of one byte a pixel (colours, 16 bits).
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixels(image.height, image.width, path)
            if image.mode not in ("L", "P"):
                raise DataError(f"{path}: pixels of mode {image.mode}, expected one byte of class index each")
            return np.array(image)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: claims more than {MAX_PIXELS} pixels; refused undecoded") from error
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        reason = "truncated" if PNG_SIGNATURE[: len(content)] == content[:8] else "not an image"
        raise DataError(f"{path}: cannot be decoded ({reason} or damaged, {len(content)} bytes)") from error


def values_of(label: np.ndarray) -> list[int]:
    """The values that occur in a label, ascending."""
    # Pillow's histogram takes a fifth of the time of np.unique.
    histogram = Image.fromarray(label).histogram()
    return [value for value, count in enumerate(histogram) if count]
