"""Unpacking of a data set's zip files: nothing leaves the folder, nothing is half written, nothing is done twice."""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from catalyst_cityscapes.prepare.files import remove_drafts, write_file
from catalyst_cityscapes.prepare.label_image import png_size
from semseg_ref.base.errors import DataError
from semseg_ref.base.parallel import Progress, run_parallel

MAX_MEMBER_BYTES = 1 << 26
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Member(NamedTuple):
    """A file of an archive that is to be unpacked below `root`."""

    archive: Path
    name: str
    root: Path
    bytes: int
    crc: int


def list_members(archive: Path, folders: Sequence[str], root: Path) -> list[Member]:
    """The files of an archive that lie in one of the top-level `folders`, after every entry's path was checked.

    Raises:
        DataError: no such file, truncated or no zip, an entry that would leave `root` (`..`, absolute, a drive, a link,
            or through a link that stands in `root`), a file that claims more than `MAX_MEMBER_BYTES`.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such file")
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
    except (*BAD_ZIP, OSError) as error:
        size = archive.stat().st_size
        raise DataError(
            f"{archive}: no complete zip file, {size} bytes ({error}); the download was cut short? Download it again"
        ) from error
    for entry in entries:
        _check_path(archive, entry)
    members = [
        Member(archive, entry.filename, root, entry.file_size, entry.CRC)
        for entry in entries
        if not entry.is_dir()
        and entry.filename.split("/")[0] in folders
        and not os.path.basename(entry.filename).startswith(".")
    ]
    for member in members:
        if member.bytes > MAX_MEMBER_BYTES:
            raise DataError(
                f"{archive}: {member.name} claims {member.bytes} bytes unpacked, expected at most {MAX_MEMBER_BYTES}; "
                "refused"
            )
    inside = root.resolve()
    for parent in {(root / member.name).parent for member in members}:
        if not parent.resolve().is_relative_to(inside):
            raise DataError(f"{archive}: {parent} is a link that leaves {root}; refused")
    return members


def _check_path(archive: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    parts = name.rstrip("/").split("/")
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    if is_link or "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        what = "a link" if is_link else "a path that may leave the folder"
        raise DataError(f"{archive}: entry {name!r} is {what}; nothing was unpacked. Is it the official file?")


def unpack(members: Sequence[Member], workers: int, progress: Progress) -> int:
    """Unpacks files in parallel and returns how many were written; those that are there with the right content stay.

    Raises:
        DataError: not enough space on the disk, a damaged file in the archive, an image of absurd size.
    """
    if not members:
        return 0
    root = members[0].root
    needed = sum(member.bytes for member in members if not (root / member.name).exists())
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DataError(f"{root}: {needed >> 20} MiB are needed to unpack, {free >> 20} MiB are free")
    remove_drafts(_folders(members))
    return sum(written for _, written in run_parallel(_unpack_member, members, workers, "unpacking", progress))


def _folders(members: Iterable[Member]) -> set[Path]:
    return {(member.root / member.name).parent for member in members}


@lru_cache(maxsize=4)
def _open(archive: Path, process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def _unpack_member(member: Member) -> bool:
    target = member.root / member.name
    if _is_there(target, member):
        return False
    try:
        # By process: a forked worker that took over an open file would share its position with the others.
        content = _open(member.archive, os.getpid()).read(member.name)
    except BAD_ZIP as error:
        raise DataError(f"{member.archive}: {member.name} is damaged ({error}); download the file again") from error
    if target.suffix == ".png":
        png_size(content[:24], f"{member.archive}: {member.name}")
    try:
        write_file(target, content)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror})") from error
    return True


def _is_there(target: Path, member: Member) -> bool:
    return target.is_file() and target.stat().st_size == member.bytes and zlib.crc32(target.read_bytes()) == member.crc
