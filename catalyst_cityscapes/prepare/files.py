"""Files that are either absent or complete, one preparation of a folder at a time, and where things were unpacked."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from semseg_ref.base.errors import DataError, InputError

DRAFT_SUFFIX = ".prepare-draft"
SEARCH_DEPTH = 3
LOCK_PATIENCE = 3.0


def digest(content: bytes) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Writes a file under a draft's name and renames it: whoever is killed in between leaves no half file."""
    with _draft_of(path) as draft:
        draft.write_bytes(content)


def place_file(source: Path, target: Path) -> bool:
    """Puts `source` at `target`: a hard link, or a copy on another file system. False when it is there already.

    A target of the source's size counts as there, since both ways leave no half file.

    Raises:
        DataError: the source cannot be read or the target cannot be written.
    """
    try:
        size = source.stat().st_size
        if target.exists() and target.stat().st_size == size:
            return False
        with _draft_of(target) as draft:
            try:
                os.link(os.path.realpath(source), draft)
            except OSError:
                shutil.copyfile(source, draft)
    except OSError as error:
        raise DataError(f"{source}: cannot be put at {target} ({error.strerror})") from error
    return True


@contextlib.contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT_SUFFIX}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folders: Iterable[Path]) -> None:
    """Removes what a killed run left; only for the holder of `exclusive`."""
    for folder in folders:
        for draft in folder.glob(f".*{DRAFT_SUFFIX}"):
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Makes the folder, and holds it against a second preparation until left; a killed process lets go by itself.

    Raises:
        InputError: another preparation works on the folder, or it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{root}: cannot be used as a folder ({error.strerror})") from error
    try:
        _lock(handle, root)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, root: Path) -> None:
    # The workers of a killed run hold the lock too, for the moment that they need to end.
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise InputError(f"{root}: another catalyst-dl prepare is at work here") from error
            time.sleep(0.05)
        except OSError:
            # Some network file systems cannot lock a folder; the drafts' names still keep two runs apart.
            return
        else:
            return


def visible(folder: Path, pattern: str) -> list[Path]:
    """Sorted matches of a pattern that are not hidden, as a Mac's `._name` twins are."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def missing_folder(folder: Path, wanted: str) -> DataError:
    """The error for a folder that lacks `wanted` (e.g. `gtFine`), with the place where it was unpacked, if near."""
    if not folder.is_dir():
        return DataError(f"{folder}: no such folder")
    inner = wanted.split("/")[0]
    parents = [up for up in (folder.absolute(), *folder.absolute().parents[:2]) if up.name == inner]
    if parents:
        return DataError(f"{folder}: lies inside {inner}/; give the folder that holds it: {parents[0].parent}")
    for depth in range(1, SEARCH_DEPTH + 1):
        found = [path for path in visible(folder, "*/" * depth + wanted) if path.is_dir()]
        if found:
            holder = Path(str(found[0])[: -len(wanted) - 1])
            return DataError(
                f"{folder}: no {wanted}/ here but in {holder}, unpacked {depth} level{'s' * (depth > 1)} too deep; "
                f"give {holder}"
            )
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    listed = ", ".join(there[:6]) + (", ..." if len(there) > 6 else "") if there else "nothing"
    return DataError(f"{folder}: no {wanted}/ in it; it holds {listed}")


def one_source(sources: Sequence[Path], dataset: str) -> Path:
    """The only source of a data set that is prepared from one unpacked folder.

    Raises:
        InputError: none, several, or a file.
    """
    if len(sources) != 1:
        raise InputError(f"prepare {dataset}: {len(sources)} sources, expected one unpacked folder")
    if sources[0].is_file():
        raise InputError(f"{sources[0]}: a file; prepare {dataset} takes the unpacked folder")
    return sources[0]


def find_base(source: Path, nestings: Sequence[str], wanted: str) -> Path:
    """The first of `source/nesting` that holds the folder `wanted`.

    Raises:
        DataError: none does; says where it was unpacked, if near.
    """
    for nesting in nestings:
        if (source / nesting / wanted).is_dir():
            return source / nesting
    raise missing_folder(source, wanted)
