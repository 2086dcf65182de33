"""One lab at a time in a folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semseg_ref.base.errors import InputError
from semseg_ref.base.files import create_folder

LOCK_FILE = ".lock"
LEFT_BEHIND_SECONDS = 20.0


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Holds a lab's folder inside the block; gives the lock's file descriptor.

    A child that inherits the descriptor holds the folder too. So the runs that a killed lab leaves behind cannot meet
    those of the next one, which waits for them to end.

    Raises:
        InputError: another lab is running in the folder.
    """
    path = create_folder(folder) / LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LEFT_BEHIND_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace")
            if _alive(owner):
                raise InputError(
                    f"{path.parent}: another lab is running in this folder (process {owner}); wait for it, or choose "
                    "another folder with --to"
                ) from None
            if time.monotonic() > deadline:
                raise InputError(
                    f"{path.parent}: runs of a lab that was killed (process {owner}) are still running in this folder; "
                    "end them first"
                ) from None
        time.sleep(0.2)


def _alive(owner: str) -> bool:
    if not owner.isdecimal():
        return True
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
