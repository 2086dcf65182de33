"""The tensors and plain values of a checkpoint that also holds objects, which are left out. No code of it is run.

Frameworks pickle objects of their own into checkpoints (loggers, histories of metrics), which `read_checkpoint`
refuses: what is to go on training must be whole. Whoever wants only the weights reads them with this.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from semseg_ref.base.checkpoints.reading import ZIP, RefusedPickleError, file_format, read_checkpoint, refusal
from semseg_ref.base.checkpoints.state_dict import wrapper_key
from semseg_ref.base.errors import CheckpointError
from semseg_ref.base.safe.unpickling import Allowed, LeftOutError, PlainUnpickler, PlainValues, one_pickle

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Kind of number by the class of storage that torch writes."""
LEGACY_HEADER = 3
"""Pickles before the content in torch's format of before 1.6: a magic number, the format's number, the machine."""


def read_plain_parts(path: str | Path) -> tuple[Any, dict[str, str]]:
    """Content of a checkpoint file as `read_checkpoint` gives it, without the objects in it.

    Returns:
        The content, and what is not in it: the class by the place, such as `message_hub.log_scalars.loss`.

    Raises:
        CheckpointError: the file is missing, is no checkpoint, or is damaged.
        RefusedPickleError: there are objects among the weights.
    """
    try:
        return read_checkpoint(path), {}
    except RefusedPickleError:
        read = _read_zip if file_format(path) == ZIP else _read_legacy
    try:
        with open(path, "rb") as file:
            content, left_out = read(file)
    except LeftOutError as error:
        raise refusal(path, error.asks_for) from error
    except Exception as error:  # bytes from anybody make pickle, zipfile and torch raise nearly every type
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: damaged, or no torch checkpoint ({reason})") from error
    key = wrapper_key(content, path)
    among_weights = [name for place, name in left_out.items() if key is None or place[0] == key]
    if among_weights:
        raise refusal(path, among_weights[0])
    return content, {".".join(filter(None, place)): name for place, name in left_out.items()}


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers that lie in the file.

    Attributes:
        key: their name there.
        dtype: kind of number.
        numel: how many they are.
    """

    key: str
    dtype: torch.dtype
    numel: int

    def __setstate__(self, state: Any) -> None:
        raise ValueError("state for a storage")


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor by its place in a storage; the numbers are read when the pickle is."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        raise ValueError("state for a tensor")


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a tensor that is no part of a storage")
    return _View(storage, offset, tuple(size), tuple(stride))


_TORCH: dict[str, Any] = {
    "torch._utils._rebuild_tensor": Allowed(_view),
    "torch._utils._rebuild_tensor_v2": Allowed(_view),
    "torch._utils._rebuild_parameter": Allowed(lambda data, *_: data),
    "torch.Size": Allowed(tuple),
    **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
}


def _persistent(pid: Any) -> _Storage:
    kind, dtype, key, _, numel, *view = pid
    is_known = kind == "storage" and isinstance(dtype, torch.dtype) and isinstance(key, str) and type(numel) is int
    if not is_known or numel < 0 or any(view):
        raise LeftOutError(getattr(dtype, "asks_for", "a storage of another kind"))
    return _Storage(key, dtype, numel)


def _plain(content: Any, read: Callable[[_Storage], Tensor]) -> tuple[Any, dict[tuple[str, ...], str]]:
    storages: dict[str, Tensor] = {}

    def tensor(value: Any) -> Tensor | None:
        if not isinstance(value, _View):
            return None
        key = value.storage.key
        if key not in storages:
            storages[key] = read(value.storage)
        if storages[key].dtype != value.storage.dtype:
            raise ValueError(f"storage {key} as two kinds of numbers")
        return torch.as_strided(storages[key], value.size, value.stride, value.offset)

    values = PlainValues(tensor)
    return values.of(content), values.left_out


def _numbers(data: bytes, storage: _Storage) -> Tensor:
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} of another size than its data")
    return torch.frombuffer(bytearray(data), dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def _read_zip(file: BinaryIO) -> tuple[Any, dict[tuple[str, ...], str]]:
    with zipfile.ZipFile(file) as archive:
        root = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        folder = root.removesuffix("data.pkl")

        def read(name: str) -> bytes:
            if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, which torch never does")
            return archive.read(folder + name)

        if f"{folder}byteorder" in archive.namelist() and read("byteorder") != b"little":
            raise ValueError("numbers of a big-endian machine")
        with archive.open(root) as opened:
            data = one_pickle(opened)
        content = PlainUnpickler(data, _TORCH, _persistent).load()
        return _plain(content, lambda storage: _numbers(read(f"data/{storage.key}"), storage))


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[tuple[str, ...], str]]:
    def load(data: bytes) -> Any:
        return PlainUnpickler(data, _TORCH, _persistent).load()

    for _ in range(LEGACY_HEADER):
        load(one_pickle(file))
    content = one_pickle(file)
    kinds: dict[str, _Storage] = {}

    def remember(pid: Any) -> _Storage:
        storage = _persistent(pid)
        return kinds.setdefault(storage.key, storage)

    unpickled = PlainUnpickler(content, _TORCH, remember).load()
    data = {}
    for key in load(one_pickle(file)):
        numel = int.from_bytes(file.read(8), "little")
        if numel != kinds[key].numel:
            raise ValueError(f"storage {key} of another size than its data")
        data[key] = _numbers(file.read(numel * kinds[key].dtype.itemsize), kinds[key])
    return _plain(unpickled, lambda storage: data[storage.key])
