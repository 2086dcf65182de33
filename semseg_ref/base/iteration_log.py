"""`iterations.csv`: what every training step used and lost, in the same columns from both arms."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semseg_ref.base.errors import StorageError


class IterationRecord(NamedTuple):
    """One optimiser step. Losses are averaged over the ranks, weighted by images, as the reference reports them.

    `further` are losses of further auxiliary heads, which only some networks have.
    """

    iteration: int
    epoch: int
    lr_backbone: float
    lr_head: float
    main_loss: float
    aux_loss: float
    loss: float
    further: tuple[float, ...] = ()


COLUMNS = IterationRecord._fields[:-1]


class IterationLog:
    """Appends `IterationRecord`s to a CSV file; values are written so that reading them back gives the same floats.

    Args:
        path: the CSV file.
        keep_before: on resume, the first iteration that will be run again: later rows of an interrupted run are
            dropped. 0 starts a new file.
        further: names of the columns of `IterationRecord.further`.
    """

    def __init__(self, path: str | Path, keep_before: int = 0, further: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self.columns = (*COLUMNS, *further)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [r for r in read_iteration_log(self.path) if r.iteration < keep_before] if keep_before else []
        temporary = self.path.with_name(self.path.name + ".tmp")
        with open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([self.columns, *_as_rows(kept)])
        os.replace(temporary, self.path)

    def sync(self) -> None:
        """Makes what was written survive a power failure; a file that is gone is left to the next `write`."""
        sync_file(self.path)

    def write(self, records: Iterable[IterationRecord]) -> None:
        """Appends records and hands them to the operating system at once; a file that is gone begins anew.

        Raises:
            StorageError: the file system refuses.
        """
        append_rows(self.path, self.columns, _as_rows(records))


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Appends rows to a CSV file; where the file is gone, a new one gets its folder and the line of columns.

    Raises:
        StorageError: the file system refuses.
    """
    try:
        is_gone = not path.is_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", newline="") as file:
            csv.writer(file).writerows([columns, *rows] if is_gone else rows)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def sync_file(path: Path) -> None:
    """fsync of a file, if it is there."""
    if path.is_file():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def _as_rows(records: Iterable[IterationRecord]) -> Iterator[list[str]]:
    return ([repr(value) for value in (*record[:-1], *record.further)] for record in records)


def read_iteration_log(path: str | Path) -> list[IterationRecord]:
    """Records of an `iterations.csv`; a last line that was cut off by a crash is left out, a missing file is empty."""
    path = Path(path)
    if not path.is_file():
        return []
    records = []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if None in row or any(not value for value in row.values()):
                break
            iteration, epoch = int(row.pop("iteration")), int(row.pop("epoch"))
            values = {name: float(value) for name, value in row.items()}
            known = {name: values.pop(name) for name in COLUMNS if name in values}
            records.append(IterationRecord(iteration, epoch, **known, further=tuple(values.values())))
    return records
