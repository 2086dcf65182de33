"""Reading checkpoint files: torch's two formats and safetensors, recognised by their bytes, without running code.

Checkpoints of older Catalyst runs hold numpy scalars and arrays (a schedule's rates), which torch's restricted
unpickler refuses; stand-ins read them as python numbers and lists. What else a file asks for is refused here;
`plain_parts` takes the tensors of such a file.
"""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from semseg_ref.base.errors import CheckpointError
from semseg_ref.base.safe.numpy_stand_ins import CORES, Array, NumberType, make_array, make_scalar

SUFFIXES = (".pth", ".pt", ".safetensors")
CONVERT = "; catalyst-dl weights convert takes the tensors of such a file alone"
ZIP, PICKLE, SAFETENSORS = "torch zip archive", "torch file of before 1.6", "safetensors"

_HEAD_BYTES = 256
_SAFETENSORS_HEADER_LIMIT = 100_000_000
_REFUSED_GLOBAL = re.compile(r"(?:GLOBAL|class|function) ([\w.]+)")


class RefusedPickleError(CheckpointError):
    """A file asks for a class or function beside tensors and plain values."""


def file_format(path: str | Path) -> str:
    """`ZIP`, `PICKLE` or `SAFETENSORS`, by the first bytes; the name's suffix does not count.

    Raises:
        CheckpointError: the file is missing, a folder, empty, or none of the three; the message says what it is.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, expected a checkpoint file{_files_in(path)}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint{_files_in(path.parent)}")
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise CheckpointError(f"{path}: empty file")
    # First safetensors: the length of its header may look like the start of a pickle, but not the other way round.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _SAFETENSORS_HEADER_LIMIT:
        return SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return ZIP
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return PICKLE
    raise CheckpointError(f"{path}: not a checkpoint of tensors and plain values, but {_what_instead(head)}")


def read_checkpoint(path: str | Path) -> Any:
    """Content of a checkpoint file on the CPU; pickled code is never run (`weights_only`).

    A safetensors file gives `{"state_dict": ..., "metadata": {...}}`, with `epoch` and `iteration` as numbers where the
    metadata has them, so that it serves wherever a checkpoint does.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, or is damaged; of torch's zip archives, also where a
            record's bytes differ from its checksum.
        RefusedPickleError: it holds more than tensors and plain types.
    """
    if file_format(path) == SAFETENSORS:
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch comments on bytes that only look like a pickle
            with torch.serialization.safe_globals(_STAND_INS):
                content = _plain(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        refused = _REFUSED_GLOBAL.search(str(error))
        raise refusal(path, refused[1] if refused else None, CONVERT) from error
    except Exception as error:  # torch's readers raise nearly every type on damaged bytes
        reason = str(error).partition("\n")[0].partition(". ")[0] or "it ends early"
        raise CheckpointError(f"{path}: damaged, or no torch checkpoint ({type(error).__name__}: {reason})") from error
    if file_format(path) == ZIP:
        # torch does not look at the records' checksums; doing so takes a quarter of a second for each GB.
        try:
            with open(path, "rb") as file:
                record = damaged_record(file)
        except Exception as error:  # a changed directory of the archive makes zipfile raise nearly every type
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(f"{path}: damaged, or no torch checkpoint ({reason})") from error
        if record is not None:
            raise CheckpointError(f"{path}: damaged (the record {record} differs from its checksum)")
    return content


def damaged_record(file: BinaryIO) -> str | None:
    """The first record of an open zip archive whose bytes differ from their CRC-32; None where all are whole.

    Where all of them differ the archive has no checksums: `torch.serialization.set_crc32_options(False)` writes such.
    """
    with zipfile.ZipFile(file) as archive:
        names = [record.filename for record in archive.infolist() if record.file_size]
        damaged = [name for name in names if not _is_whole(archive, name)]
    return damaged[0] if damaged and len(damaged) < len(names) else None


def _is_whole(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as record:
            while record.read(1 << 20):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def refusal(path: str | Path, asks_for: str | None, hint: str = "") -> RefusedPickleError:
    """The error for a file that is not read because of what it asks for, a class's or function's dotted name."""
    what = f" (it asks for {asks_for})" if asks_for else ""
    return RefusedPickleError(
        f"{path}: not a checkpoint of tensors and plain values only{what}; pickled code is never run{hint}"
    )


def _files_in(folder: Path) -> str:
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
    return f"; in {folder}: {', '.join(names[-5:])}" if names else f"; {folder} has no .pth file"


def _what_instead(head: bytes) -> str:
    start = head.lstrip()[:20].lower()
    if start.startswith(b"version https://git-"):
        return "a Git LFS pointer (fetch the file itself with `git lfs pull`)"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (the download gave a page instead of the file)"
    try:
        head[:-4].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return f"some other file (it starts with the bytes {head[:4].hex(' ')})"
    return "some other file" if b"\0" in head else "a text file"


def _read_safetensors(path: str | Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise CheckpointError(f"{path}: reading it needs `pip install safetensors` ({error})") from error
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = dict(sorted((file.metadata() or {}).items()))
            content: dict[str, Any] = {"state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged, or no safetensors file ({error})") from error
    for count in ("epoch", "iteration"):
        if metadata.get(count, "").isdecimal():
            content[count] = int(metadata[count])
    return {**content, "metadata": metadata}


_STAND_INS = [
    (NumberType, "numpy.dtype"),
    (Array, "numpy.ndarray"),
    *((make_array, f"numpy.{core}.multiarray._reconstruct") for core in CORES),
    *((make_scalar, f"numpy.{core}.multiarray.scalar") for core in CORES),
]


def _plain(value: Any) -> Any:
    """The same value with lists in the place of the arrays' stand-ins."""
    if isinstance(value, Array):
        return value.values
    if isinstance(value, dict):
        for key, inner in value.items():
            value[key] = _plain(inner)
    elif isinstance(value, list):
        value[:] = [_plain(inner) for inner in value]
    elif type(value) is tuple:
        return tuple(_plain(inner) for inner in value)
    return value
