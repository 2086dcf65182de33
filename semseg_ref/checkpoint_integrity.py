"""Whether a checkpoint file still holds the bytes that were written.

torch writes a zip archive with a CRC-32 of every record and does not look at it when it loads: a flipped bit in a
weight goes unnoticed. The archive's own checksums are checked here, so that no second file can go astray or out of
step, and any program reads the file as before.
"""

import zipfile
from pathlib import Path

from semseg_ref.checkpoint_file import ZIP, file_format
from semseg_ref.errors import CheckpointError


def check_integrity(path: str | Path) -> None:
    """Compares each record with its checksum; files of other formats have none and pass.

    Raises:
        CheckpointError: the file is missing, empty, cut, changed, or no checkpoint.
    """
    if file_format(path) != ZIP:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
    except Exception as error:  # a changed directory of the archive makes zipfile raise nearly every type
        raise CheckpointError(
            f"{path}: damaged ({str(error).partition(chr(10))[0] or type(error).__name__})"
        ) from error
    if changed is not None:
        raise CheckpointError(f"{path}: damaged (the record {changed} differs from its checksum)")
