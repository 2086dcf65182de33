"""Loader processes that the machine does not carry: what happened in one line, and room asked before the start.

A loader process hands its batches over in shared memory (`/dev/shm`), through file descriptors. Containers often have
64 MiB of the one and few of the other, and torch reports each in a way of its own, or the process just dies.
"""

import errno
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from semseg_ref.base.errors import LoaderError, one_line

SHARED_MEMORY = Path("/dev/shm")
PREFETCH = 2
"""Batches that torch lets each loader process prepare ahead."""
MIB = 2**20
FULL = ("unable to write to file </torch", "unable to allocate shared memory", "unable to mmap", "Bus error", "/torch_")
DESCRIPTORS = ("received 0 items of ancdata", "Too many open files")
DIED = ("DataLoader worker (pid", "exited unexpectedly")
PLACES = (os.path.join("torch", "utils", "data"), "multiprocessing")
BROKEN = (ConnectionError, EOFError)


def batch_bytes(batch_size: int, crop: Sequence[int]) -> int:
    """Shared memory of one batch: float32 image [3, h, w] and int64 label [h, w] a sample."""
    return batch_size * crop[0] * crop[1] * (3 * 4 + 8)


def shared_memory_warning(workers: int, batch_size: int, crop: Sequence[int]) -> str | None:
    """A line where `workers` loader processes are likely to fill `/dev/shm`; else, or where nobody knows, None.

    Args:
        workers: of all processes of this machine.
        batch_size: samples of a batch of one process.
        crop: (height, width) in pixels.
    """
    needed = workers * PREFETCH * batch_bytes(batch_size, crop)
    free = _space()[0]
    if free is None or needed <= free:
        return None
    return (
        f"sampling.workers: {workers} loader processes hold up to {needed / MIB:.0f} MiB of batches in "
        f"{SHARED_MEMORY}, which has {free / MIB:.1f} MiB left; {_way_out()}"
    )


def _space() -> tuple[int | None, int | None]:
    """Free and whole size of the shared memory in bytes; None where there is no such folder."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return None, None
    return usage.free, usage.total


def _way_out() -> str:
    return "enlarge it (docker run --shm-size 8g), or set sampling.workers to less (0 needs none)"


def loader_fault(error: BaseException, workers: int) -> LoaderError | None:
    """An error in words where the machine did not carry the loader processes; None for any other error.

    Args:
        error: whatever was raised.
        workers: loader processes; without any nothing is theirs.
    """
    if not workers:
        return None
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    code = error.errno if isinstance(error, OSError) else None
    theirs = any(place in frame.filename for frame in traceback.extract_tb(error.__traceback__) for place in PLACES)
    free, size = _space()
    shared = "unknown" if size is None else f"{size / MIB:.1f} MiB, {free / MIB:.1f} MiB of it free now"
    told: str | None = None
    if any(sign in text for sign in DESCRIPTORS) or (code in (errno.EMFILE, errno.ENFILE) and theirs):
        told = "no more files can be opened, and each batch needs some; raise the limit (ulimit -n 65536)"
    elif any(sign in text for sign in FULL) or (code == errno.ENOSPC and theirs):
        told = f"the shared memory {SHARED_MEMORY} is too small ({shared}); {_way_out()}"
    elif "killed by signal" in text and all(sign in text for sign in DIED[:1]):
        told = f"a loader process was killed, likely for want of memory ({SHARED_MEMORY}: {shared}); set it to less"
    elif all(sign in text for sign in DIED) or (isinstance(error, BROKEN) and theirs):
        told = (
            f"a loader process ended without a word, killed for want of memory? ({SHARED_MEMORY}: {shared}); set it to "
            "less, or to 0 to see why"
        )
    elif code in (errno.EAGAIN, errno.ENOMEM) and theirs:
        told = "no more processes can be started (memory, or ulimit -u); set it to less"
    if told is None:
        return None
    return LoaderError(f"sampling.workers: {workers}: {told}; then go on with --resume auto ({one_line(error)[:160]})")


@contextmanager
def told_loader_faults(workers: int) -> Iterator[None]:
    """Raises `loader_fault`'s error in the place of what torch raises inside the block."""
    try:
        yield
    except Exception as error:
        fault = loader_fault(error, workers)
        if fault is None:
            raise
        raise fault from error
