"""Reading `.npz` files that come from others: sizes are checked before memory is asked for, pickles are never read."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semseg_ref.base.errors import DataError

MAX_BYTES = 1 << 31
"""Of one array: 10,000 confusion matrices of 150 classes are 1.8 GB."""


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an `.npz` file.

    Args:
        path: the file.
        names: of the arrays; others in the file are not read.

    Raises:
        DataError: missing or damaged, lacks an array, an array that claims more than `MAX_BYTES` or another size than
            it has, or holds python objects, which would have to be unpickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _read_array(archive, name, path) for name in names}
    except DataError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{path} is unusable ({' '.join(str(error).split())})") from error


def _read_array(archive: zipfile.ZipFile, name: str, path: str | Path) -> np.ndarray:
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MAX_BYTES:
        raise DataError(f"{path} is unusable ({name} claims {entry.file_size} bytes, expected at most {MAX_BYTES})")
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name}: version {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"{name}: python objects, which are not read")
        # python's own whole numbers: a shape may be chosen so that numpy's product overflows
        claimed = dtype.itemsize
        for side in shape:
            claimed *= int(side)
        content = file.read()
    if claimed != len(content) or min(shape, default=0) < 0:
        raise ValueError(f"{name}: shape {shape} of {dtype} asks for {claimed} bytes, there are {len(content)}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C").copy()
