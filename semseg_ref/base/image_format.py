"""What an image file's header says of its samples, and whether they can be read without changing them.

The reference's reader, OpenCV, takes nearly every file and converts it to 8 bits without a word: it divides 16-bit
values by 256, turns a picture by its EXIF orientation, multiplies transparency in and makes grey of a palette's
colours. What no such step touches is read; the rest is refused here, for images and for labels.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from semseg_ref.base.errors import DataError
from semseg_ref.base.safe.image_header import (
    JPEG_SIGNATURE,
    NO_SIZE_IN_FRAME,
    PNG_SIGNATURE,
    check_pixels,
    no_image,
    picture_header,
)

IMAGE_KINDS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000")
LABEL_KINDS = ("PNG", "TIFF", "BMP", "PPM", "WEBP")
UPRIGHT = 1
ORIENTATION_TAG = 0x0112
SWAPPED_SIDES = (5, 6, 7, 8)
"""EXIF orientations that exchange height and width."""

# TIFF tags.
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_SAMPLES, _SAMPLE_FORMAT = 277, 339
_WHITE_IS_ZERO = 0
_REDUCED_OR_MASK = 0b101
_LOSSLESS_COMPRESSION = (None, 1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""None, CCITT, LZW, deflate, PackBits, LZMA, Zstandard."""
_NUMBERS = {1: "unsigned", 2: "signed", 3: "float"}
PNG_TAIL = 1 << 12
"""Bytes at the end of a PNG in which an orientation is looked for."""
PPM_HEADER = 1024
"""Bytes at the start of a PPM in which its four words are looked for."""
_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 16, "F": 32}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class ImageFormat:
    """Samples of an image file, from its header.

    Attributes:
        kind: PNG, JPEG, TIFF, BMP, PPM, WEBP, JPEG2000, or another name of Pillow's.
        height, width: in pixels, as stored.
        bits: of a sample as it is stored; of a palette's index.
        number: unsigned, signed, float, or the range of a PPM that does not use all values of its bits.
        channels: of a pixel, transparency included; 1 for a palette.
        palette: pixels are indices of colours.
        inverted: 0 is white.
        lossy: the values were changed when the file was written.
        pages: images in the file, thumbnails not counted.
        orientation: EXIF, 1 (upright) to 8.
        dark: white is less than 255, and comes as it is stored: right for indices, not for a picture.
    """

    kind: str
    height: int
    width: int
    bits: int = 8
    number: str = "unsigned"
    channels: int = 3
    palette: bool = False
    inverted: bool = False
    lossy: bool = False
    pages: int = 1
    orientation: int = UPRIGHT
    dark: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as read: OpenCV obeys the orientation, except for WebP."""
        swapped = self.orientation in SWAPPED_SIDES and self.kind != "WEBP"
        return (self.width, self.height) if swapped else (self.height, self.width)


def image_format(file: BinaryIO, path: str | Path, whole: bool = True) -> ImageFormat:
    """The format of an image file. Nothing is decoded.

    Args:
        file: the open file, at its beginning.
        path: for the message.
        whole: False passes over a PNG's pixels to its last few kilobytes, where an orientation may stand.

    Raises:
        DataError: no header of an image.
    """
    start = file.read(26)
    if start.startswith(PNG_SIGNATURE) and len(start) == 26:
        return _png(file, start, whole)
    file.seek(0)
    return _jpeg(file, path) if start.startswith(JPEG_SIGNATURE) else _other(file, path)


def read_format(path: str | Path) -> ImageFormat:
    """`image_format` of a file on disk, its beginning only.

    Raises:
        DataError: the file cannot be read, has no header of an image, or claims too many pixels.
    """
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: the file is empty")
            file.seek(0)
            found = image_format(file, path, whole=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    check_pixels(found.height, found.width, path)
    return found


def check_image_format(found: ImageFormat, path: str | Path) -> None:
    """Raises DataError for an image whose pixels would be changed on the way, or of which only a part would be read.

    Unsigned samples of 16 bits pass: whether their upper 8 bits are the picture is seen in the values.
    """
    if found.kind not in IMAGE_KINDS:
        raise DataError(f"{path}: {found.kind} is no format that is read here; expected an 8-bit PNG or JPEG")
    if found.pages > 1:
        raise DataError(f"{path}: holds {found.pages} pictures, of which only the first would be read; expected one")
    if found.dark:
        raise DataError(f"{path}: white is less than 255 in this PGM, so it would be read too dark; convert it first")
    if found.number != "unsigned" or found.bits > 16:
        raise DataError(f"{path}: {_samples(found)}, expected an image of 8 bits a sample; convert it first")
    if found.kind == "TIFF" and found.channels > 3:
        raise DataError(
            f"{path}: a TIFF of {found.channels} channels, whose fourth OpenCV multiplies into the colours as "
            "transparency (alpha); save it with three channels, or as PNG"
        )


def check_label_format(found: ImageFormat, path: str | Path) -> None:
    """Raises DataError for a label that cannot hold class indices, or would not be read as it is.

    Palettes pass: whether the indices are read shows in the values.
    """
    if found.kind not in LABEL_KINDS or found.lossy:
        how = "lossy compression" if found.lossy else "a format that is not read for labels"
        raise DataError(
            f"{path}: {found.kind}, {how}, expected a label as PNG: class indices must be stored as they are "
            "(a lossy file invents classes along borders)"
        )
    if found.pages > 1:
        raise DataError(f"{path}: holds {found.pages} pictures, of which only the first would be read; expected one")
    if (found.bits != 8 or found.number != "unsigned") and not found.palette:
        raise DataError(
            f"{path}: {_samples(found)}, expected a label of 8-bit class indices; save it as 8-bit PNG, ignored "
            "pixels as 255"
        )
    if found.inverted:
        raise DataError(f"{path}: 0 is white in this TIFF (WhiteIsZero), so its values would be read as 255 - value")
    if found.kind != "PNG" and found.channels not in (1, 3):
        raise DataError(f"{path}: {found.channels} channels, expected a single-channel label of class indices")


def check_pair_formats(image: ImageFormat, label: ImageFormat, paths: tuple[str | Path, str | Path]) -> None:
    """Raises DataError where a label does not lie on its image: sizes that differ, or EXIF orientations.

    Where exactly one of the two has an orientation that exchanges unequal sides, equal sizes tell that the label was
    drawn on the picture as it is read. Any other difference leaves open whom to believe.

    Args:
        image, label: their formats.
        paths: of both, for the message.
    """
    flags = {path: found.orientation for path, found in zip(paths, (image, label), strict=True)}
    turned = [flag for flag in flags.values() if flag != UPRIGHT]
    if image.size != label.size:
        exif = (
            f"; EXIF orientation {' and '.join(map(str, turned))} turns one of them"
            if len(set(flags.values())) > 1
            else ""
        )
        raise DataError(
            f"{paths[1]}: size {label.size[0]} x {label.size[1]} differs from its image {paths[0]}, "
            f"{image.size[0]} x {image.size[1]}{exif}"
        )
    # OpenCV turns no WebP, whatever its orientation says.
    alike = image.orientation == UPRIGHT or (image.kind == "WEBP") == (label.kind == "WEBP")
    if image.orientation == label.orientation and alike:
        return
    if len(turned) == 1 and turned[0] in SWAPPED_SIDES and image.height != image.width:
        return
    first, second = sorted(flags, key=lambda path: flags[path] == UPRIGHT)
    raise DataError(
        f"{first}: EXIF orientation {flags[first]}, but {second} has "
        f"{'none' if flags[second] == UPRIGHT else flags[second]}, so one would be turned and the other not; where "
        "both show the same side up in a viewer, turn the pixels (mogrify -auto-orient), else remove the flag "
        "(exiftool -Orientation= FILE)"
    )


def _samples(found: ImageFormat) -> str:
    kind = "" if found.number == "unsigned" else f" ({found.number})"
    return f"{found.bits} bits a sample{kind}"


def _orientation(exif: bytes) -> int:
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # Pillow raises nearly every type on damaged bytes; OpenCV takes such a file for upright
        return UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def _png(file: BinaryIO, start: bytes, whole: bool) -> ImageFormat:
    depth, colour_type = start[24], start[25]
    pages, orientation = 1, UPRIGHT
    file.seek(len(PNG_SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"IEND":
            break
        if name == b"IDAT" and not whole:
            orientation = max(orientation, _late_orientation(file))
            break
        if name == b"eXIf":
            orientation = _orientation(file.read(length))
            length = 0
        elif name == b"acTL":
            pages = max(struct.unpack(">I", file.read(4).rjust(4, b"\0"))[0], 1)
            length -= 4
        file.seek(length + 4, io.SEEK_CUR)
    width, height = struct.unpack(">II", start[16:24])
    channels, palette = _PNG_CHANNELS.get(colour_type, 3), colour_type == 3
    return ImageFormat(
        "PNG", height, width, depth, channels=channels, palette=palette, pages=pages, orientation=orientation
    )


def _late_orientation(file: BinaryIO) -> int:
    # Some tools write it after the pixels. Looking for it from the end spares reading a large file chunk by chunk.
    file.seek(-min(PNG_TAIL, file.seek(0, io.SEEK_END)), io.SEEK_END)
    tail = file.read()
    start = tail.find(b"eXIf")
    end = start + 4 + int.from_bytes(tail[max(start - 4, 0) : max(start, 0)], "big")
    if start < 4 or zlib.crc32(tail[start:end]) != int.from_bytes(tail[end : end + 4], "big"):
        return UPRIGHT
    return _orientation(tail[start + 4 : end])


def _jpeg(file: BinaryIO, path: str | Path) -> ImageFormat:
    orientation = UPRIGHT
    file.seek(2)
    while len(head := file.read(2)) == 2 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:
            file.seek(-1, io.SEEK_CUR)
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if 0xC0 <= marker <= 0xCF and marker not in NO_SIZE_IN_FRAME:
            frame = file.read(6)
            if len(frame) < 6:
                break
            height, width = struct.unpack(">HH", frame[1:5])
            bits, channels = frame[0], frame[5]
            return ImageFormat("JPEG", height, width, bits, channels=channels, lossy=True, orientation=orientation)
        segment = file.read(max(length, 0)) if marker == 0xE1 else b""
        if segment.startswith(b"Exif\0\0"):
            orientation = _orientation(segment)
        file.seek(max(length, 0) - len(segment), io.SEEK_CUR)
    raise no_image(path)


def _other(file: BinaryIO, path: str | Path) -> ImageFormat:
    with picture_header(file, path) as picture:
        return _tiff(picture) if picture.format == "TIFF" else _by_mode(picture, file)


def _by_mode(image: Image.Image, file: BinaryIO) -> ImageFormat:
    kind = "BMP" if image.format == "DIB" else image.format or "?"
    number, dark = _ppm_range(file) if kind == "PPM" else ("unsigned", False)
    return ImageFormat(
        kind,
        image.height,
        image.width,
        _MODE_BITS.get(image.mode, 8),
        "float" if image.mode == "F" else number,
        len(image.getbands()),
        image.mode == "P",
        lossy=kind == "WEBP" and _is_lossy_webp(file),
        pages=getattr(image, "n_frames", 1),
        orientation=_tag(image.getexif(), ORIENTATION_TAG, UPRIGHT),
        dark=dark,
    )


def _ppm_range(file: BinaryIO) -> tuple[str, bool]:
    """`number` and `dark` of a PPM, by its largest value.

    What does not use all bits is stretched (text) or left dark (colours); only binary grey values come as they are.
    """
    file.seek(0)
    words = re.sub(rb"#[^\r\n]*", b" ", file.read(PPM_HEADER)).split()
    if words[0] not in (b"P2", b"P3", b"P5", b"P6"):  # bits, or floats
        return "unsigned", False
    if len(words) < 4 or not words[3].isdigit():
        return "of unknown range", False
    largest = int(words[3])
    as_stored = words[0] == b"P5" and largest < 255
    return "unsigned" if as_stored or largest in (255, 65535) else f"0 to {largest}", as_stored


def _tag(tags: Any, tag: int, default: int | None) -> int | None:
    value = tags.get(tag, default)
    return value[0] if isinstance(value, tuple) and value else value


def _tiff(image: Image.Image) -> ImageFormat:
    tags = dict(image.tag_v2)
    compression, orientation = _tag(tags, _COMPRESSION, None), _tag(tags, ORIENTATION_TAG, UPRIGHT)
    full = 1
    for page in range(1, image.n_frames):
        image.seek(page)
        full += not (_tag(image.tag_v2, _SUBFILE, 0) & _REDUCED_OR_MASK)
    return ImageFormat(
        "TIFF",
        _tag(tags, _HEIGHT, image.height),
        _tag(tags, _WIDTH, image.width),
        _tag(tags, _BITS, 1),
        _NUMBERS.get(_tag(tags, _SAMPLE_FORMAT, 1), "other"),
        _tag(tags, _SAMPLES, 1),
        image.mode == "P",
        _tag(tags, _PHOTOMETRIC, None) == _WHITE_IS_ZERO,
        compression not in _LOSSLESS_COMPRESSION,
        full,
        orientation,
    )


def _is_lossy_webp(file: BinaryIO) -> bool:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        file.seek(length + length % 2, io.SEEK_CUR)
    return True
