"""Whether a checkpoint file still holds the bytes that were written.

torch writes a zip archive with a CRC-32 of every record and does not look at it when it loads: a flipped bit in a
weight goes unnoticed, and one in the archive's directory can give other bytes as weights. So the sha256 of the whole
file is put into the comment at the archive's end: one file, renamed in one go, which any program reads as before.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import BinaryIO

from semseg_ref.base.checkpoints.reading import ZIP, damaged_record, file_format
from semseg_ref.base.errors import CheckpointError

MARK = b"sha256:"
SEAL_BYTES = len(MARK) + 64
_END_OF_ARCHIVE = b"PK\x05\x06"
_END_BYTES = 22


def seal(file: BinaryIO) -> None:
    """Puts the sha256 of an archive's bytes into its comment.

    Args:
        file: open for reading and writing, a complete zip archive without a comment.
    """
    file.seek(-_END_BYTES, os.SEEK_END)
    if file.read(4) != _END_OF_ARCHIVE:
        raise ValueError("the file does not end as a zip archive without a comment does")
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", SEAL_BYTES))
    size = file.tell()
    digest = _digest(file, size)
    file.seek(size)
    file.write(MARK + digest)


def check_integrity(path: str | Path) -> None:
    """Compares a file with its seal; without one (official checkpoints), an archive's records with their checksums.

    Files in torch's format of before 1.6 and safetensors have neither and pass.

    Raises:
        CheckpointError: the file is missing, empty, cut, changed, or no checkpoint.
    """
    if file_format(path) != ZIP:
        return
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END) - SEAL_BYTES
            file.seek(max(size, 0))
            found = file.read()
            if found.startswith(MARK):
                changed = "" if _digest(file, size) == found[len(MARK) :] else "its bytes differ from its checksum"
            elif found[-_END_BYTES:].startswith(_END_OF_ARCHIVE):
                record = damaged_record(file)
                changed = "" if record is None else f"the record {record} differs from its checksum"
            else:
                changed = "its end is missing or changed"
    except Exception as error:  # a changed directory of the archive makes zipfile raise nearly every type
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: damaged, cut short or changed ({reason})") from error
    if changed:
        raise CheckpointError(f"{path}: damaged ({changed})")


def _digest(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest().encode()
