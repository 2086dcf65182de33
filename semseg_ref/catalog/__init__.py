"""Class names and colours of the data sets, as the text files of the official format.

`<set>_names.txt` holds one name a line, `<set>_colors.txt` one `R G B` a line, both in the order of the train ids.
"""

from pathlib import Path

import numpy as np

from semseg_ref.base.errors import DataError, did_you_mean

FOLDER = Path(__file__).parent


def resolve(path: str | Path) -> Path:
    """`path` if it exists, else the catalog's file of the same name.

    So official configurations run unchanged, whose tables lie in a folder of the reference's repository.

    Raises:
        DataError: neither exists.
    """
    path = Path(path)
    for candidate in (path, FOLDER / path.name):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path}: no such file{did_you_mean(path.name, (p.name for p in FOLDER.glob('*.txt')))}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error.reason
        raise DataError(f"{path}: not a UTF-8 text file of one class a line ({reason})") from error


def load_names(path: str | Path, classes: int | None = None) -> list[str]:
    """Class names of a file, one a line; blank lines do not count.

    Raises:
        DataError: no such file, no text, or not `classes` names.
    """
    found = resolve(path)
    names = [line.strip() for line in _read_text(found).splitlines() if line.strip()]
    if classes is not None and len(names) != classes:
        raise DataError(f"{found}: {len(names)} class names, expected {classes}")
    return names


def load_colors(path: str | Path, classes: int | None = None) -> np.ndarray:
    """Class colours of a file, uint8 [K, 3], RGB.

    Raises:
        DataError: no such file, no text, not `classes` rows, or a row that is not three numbers 0..255.
    """
    found = resolve(path)
    rows = []
    for number, line in enumerate(_read_text(found).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 3 or not all(len(f) <= 3 and f.isdecimal() and int(f) <= 255 for f in fields):
            raise DataError(f"{found}, line {number}: {line.strip()!r}, expected R G B with values 0..255")
        rows.append([int(f) for f in fields])
    if classes is not None and len(rows) != classes:
        raise DataError(f"{found}: {len(rows)} colours, expected {classes}")
    return np.array(rows, np.uint8).reshape(-1, 3)
