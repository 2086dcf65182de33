"""Files of our own: written whole or not at all, folders that can be written to, digests."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semseg_ref.base.errors import InputError


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def create_folder(path: str | Path) -> Path:
    """A folder to write into, with the folders above it.

    Raises:
        InputError: it cannot be created, or not be written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be created ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path}: this folder cannot be written to")
    return path


def replace_atomically(path: str | Path, write: Callable[[Any], Any]) -> None:
    """Gives `write` a binary file of a temporary name in the same folder, then renames it to `path`.

    When `write` fails or is interrupted, `path` stays as it was and nothing else is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
