"""Decoded images and labels on disk, memory-mapped, so that an epoch decodes nothing.

One file a sample: a header of `HEADER_BYTES` (JSON, padded with blanks), the image uint8 [H, W, 3], RGB, and the label
uint8 [H, W]. A file is written under another name, flushed to the disk and renamed, so it is whole or absent, whoever
is killed when; a killed build goes on where it was. One process builds at a time, others wait for it. A file counts
only while its header fits: path, size and time of change of both sources, and the classes that the label was checked
for; else it is made anew. Its checksum is compared when its own time of change is another than the one that it
was given.
"""

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from semseg_ref.base.errors import DataError, InputError
from semseg_ref.base.parallel import Progress, available_cpus, run_parallel, silent
from semseg_ref.dataset import read_pair, read_rgb

FORMAT = 1
HEADER_BYTES = 4096
MADE = {"height": int, "width": int, "checksum": str, "written": int}
"""What only the decoded sample tells, in a file's header."""
BYTES_PER_PIXEL = 4
SUFFIX = ".decoded"
DRAFT_SUFFIX = ".draft"
LOCK = "lock"
STAGE = "decoding"
WORTH_PROCESSES = 64
"""Images; fewer are decoded before further processes have started."""
SPARE_BYTES = 1 << 28
"""Kept free on the disk: a full disk would stop the training's checkpoints."""


class Source(NamedTuple):
    """What a cached sample is made from and checked for."""

    image: str
    label: str
    classes: int
    ignore_index: int


class Entry(NamedTuple):
    """A finished file: where it is, and the size of its image."""

    path: Path
    height: int
    width: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, 3], RGB, and label uint8 [H, W]; read-only views of the mapped file.

        Raises:
            DataError: the file is gone or has another length than when the cache was opened.
        """
        pixels = self.height * self.width
        try:
            with open(self.path, "rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read ({error}); start again, it will be made anew") from error
        if len(content) != HEADER_BYTES + BYTES_PER_PIXEL * pixels:
            raise DataError(f"{self.path}: changed while in use; start again, it will be made anew")
        values = np.frombuffer(content, np.uint8, offset=HEADER_BYTES)
        image, label = values[: 3 * pixels], values[3 * pixels :]
        return image.reshape(self.height, self.width, 3), label.reshape(self.height, self.width)


def open_cache(
    folder: str | Path,
    pairs: Sequence[tuple[str, str]],
    classes: int,
    ignore_index: int,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[Entry]:
    """The cache of a list, complete: decodes what is missing or has changed, after saying how much that will take.

    Args:
        folder: of the cache; made when missing. Lists may share it.
        pairs: (image path, label path) a sample.
        classes, ignore_index: for the check of the label values, which is made once here.
        workers: processes to decode with; None: one a core, or one for a few images.
        progress: see `run_parallel`.

    Returns:
        An entry for each pair, in order.

    Raises:
        InputError: the folder cannot be used, or the disk has no room.
        DataError: see `read_pair`.
    """
    folder = Path(folder)
    sources = [Source(os.path.abspath(i), os.path.abspath(k), classes, ignore_index) for i, k in pairs]
    entries = {source: _finished(folder, source) for source in sources}
    if any(entry is None for entry in entries.values()):
        with _exclusive(folder):
            # Another process may have finished them in the meantime.
            missing = [source for source in entries if _finished(folder, source) is None]
            if missing:
                _announce(folder, missing, len(entries))
            tasks = [(folder, source) for source in missing]
            if workers is None:
                workers = available_cpus() if len(tasks) >= WORTH_PROCESSES else 1
            for _ in run_parallel(_complete, tasks, workers, STAGE, progress):
                pass
        entries = {source: entry or _finished(folder, source) for source, entry in entries.items()}
    if any(entry is None for entry in entries.values()):
        raise DataError(f"{folder}: the images changed while they were being decoded; start again")
    return [entries[source] for source in sources]


def entry_path(folder: Path, source: Source) -> Path:
    """The file of a sample: named after its image, with a digest of both paths."""
    digest = hashlib.sha256(f"{source.image}\n{source.label}".encode()).hexdigest()[:16]
    return folder / f"{Path(source.image).stem[:80]}-{digest}{SUFFIX}"


def _wanted(source: Source) -> dict[str, Any]:
    # What a header must say, besides what only the decoded sample tells.
    try:
        stats = [os.stat(path) for path in (source.image, source.label)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return {"format": FORMAT, **source._asdict(), "sources": [[s.st_size, s.st_mtime_ns] for s in stats]}


def _read_header(path: Path) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(HEADER_BYTES))
            if {name: type(header[name]) for name in MADE} != MADE:
                return None
            expected = HEADER_BYTES + BYTES_PER_PIXEL * header["height"] * header["width"]
            return header if os.fstat(file.fileno()).st_size == expected else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _fitting_header(path: Path, source: Source) -> dict[str, Any] | None:
    header = _read_header(path)
    return header if header is not None and _wanted(source).items() <= header.items() else None


def _finished(folder: Path, source: Source) -> Entry | None:
    path = entry_path(folder, source)
    header = _fitting_header(path, source)
    if header is None or os.stat(path).st_mtime_ns != header["written"]:
        return None
    return Entry(path, header["height"], header["width"])


def _complete(task: tuple[Path, Source]) -> None:
    folder, source = task
    path = entry_path(folder, source)
    header = _fitting_header(path, source)
    if header is not None and _has_checksum(path, header["checksum"]):
        os.utime(path, ns=(header["written"], header["written"]))
    else:
        _write(path, source)


def _has_checksum(path: Path, checksum: str) -> bool:
    return hashlib.sha256(memoryview(path.read_bytes())[HEADER_BYTES:]).hexdigest() == checksum


def _write(path: Path, source: Source) -> None:
    cv2.setNumThreads(0)
    header = _wanted(source)
    image, label = read_pair(*source)
    content = hashlib.sha256(image)
    content.update(label)
    # Whole seconds, which every file system keeps.
    written = int(time.time()) * 10**9
    header |= {"height": label.shape[0], "width": label.shape[1], "checksum": content.hexdigest(), "written": written}
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT_SUFFIX}")
    try:
        with open(draft, "wb") as file:
            file.write(json.dumps(header).encode().ljust(HEADER_BYTES))
            file.write(image)
            file.write(label)
            file.flush()
            os.fsync(file.fileno())
        os.utime(draft, ns=(written, written))
        os.replace(draft, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free some space or set data.cache") from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    # The lock goes with the process: a killed one leaves none behind.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"data.cache: {folder}: cannot be used as a folder ({error.strerror})") from error
    try:
        if _lock(handle, folder):
            for draft in folder.glob(f".*{DRAFT_SUFFIX}"):
                draft.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say(f"decoded cache {folder}: waiting for the process that builds it")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        # Some network file systems have no locks: two processes then do the work twice, under names of their own.
        return False
    return True


def _announce(folder: Path, missing: Sequence[Source], total: int) -> None:
    # Checked here and not file by file: a build that cannot end should not begin.
    needed = sum(_decoded_bytes(source.image) for source in missing if not entry_path(folder, source).exists())
    free = shutil.disk_usage(folder).free
    _say(
        f"decoded cache {folder}: {len(missing)} of {total} images to decode, {needed / 1e9:.2f} GB to write, "
        f"{free / 1e9:.2f} GB free"
    )
    if needed + SPARE_BYTES > free:
        raise InputError(
            f"data.cache: {folder}: the decoded images need {needed / 1e9:.2f} GB (and {SPARE_BYTES / 1e9:.2f} GB are "
            f"kept free), the disk has {free / 1e9:.2f} GB; name a folder on another disk, or set data.cache: null"
        )


def _decoded_bytes(path: str) -> int:
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError):
        height, width = read_rgb(path).shape[:2]
    return HEADER_BYTES + BYTES_PER_PIXEL * height * width


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
