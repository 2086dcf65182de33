"""Files that ask for more than they are: images and archives of absurd size, pickles that would run a program."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

HUGE = 100_000


class Payload:
    """Unpickling it would make a folder."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.sentinel),)


def png(height: int = HUGE, width: int = HUGE, colour_type: int = 0) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def jpeg(height: int = 60_000, width: int = 60_000, before: bytes = b"") -> bytes:
    """A JPEG header that claims a size; `before` are bytes between the start and the frame."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x00\x3f\x00"
    return b"\xff\xd8" + before + frame + scan + bytes(50) + b"\xff\xd9"


def bmp(height: int = HUGE, width: int = HUGE) -> bytes:
    """A BMP header that claims a size."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(header), 0, 0, 54) + header + bytes(64)


def npz_header(shape: tuple[int, ...], dtype: str = "<i8") -> bytes:
    """A `.npy` file that claims a shape and holds eight bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(8)


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    """A compressed zip file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def laughs(levels: int = 12, times: int = 9) -> str:
    """YAML whose aliases stand for `times ** levels` values."""
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * times)}]")
    return "\n".join(lines) + "\n"


def doubling(levels: int = 40, form: str = "{r}{r}") -> str:
    """YAML whose references double a text at each level."""
    lines = ["shared:", "  x0: abcdefgh"]
    for level in range(1, levels + 1):
        reference = f"${{shared.x{level - 1}}}"
        lines.append(f"  x{level}: {form.format(r=reference)}")
    return "\n".join(lines) + "\n"
