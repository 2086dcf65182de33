"""Timing two ways of doing one thing in interleaved repeats, so that a busy machine disturbs both alike."""

import csv
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

Row = dict[str, object]
"""One line of a result file."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """Seconds of the control arm and of ours, one of each a repeat: wall clock, and the process's processor time."""

    control: np.ndarray
    ours: np.ndarray
    control_cpu: np.ndarray
    ours_cpu: np.ndarray

    def row(self) -> dict[str, float]:
        """Medians, the ratio control / ours of the medians with a 95 % interval from resampled repeats, and the ratios
        of the processor times and of the fastest repeats."""
        rng = np.random.default_rng(0)
        picks = rng.integers(0, len(self.ours), (RESAMPLES, len(self.ours)))
        ratios = np.median(self.control[picks], axis=1) / np.median(self.ours[picks], axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        values = {
            "control_s": np.median(self.control),
            "ours_s": np.median(self.ours),
            "ratio": np.median(self.control) / np.median(self.ours),
            "ratio_low": low,
            "ratio_high": high,
            "cpu_time_ratio": np.median(self.control_cpu) / np.median(self.ours_cpu),
            "fastest_ratio": self.control.min() / self.ours.min(),
        }
        return {name: round(float(value), 4) for name, value in values.items()}


def interleaved(control: Callable[[], object], ours: Callable[[], object], repeats: int) -> Comparison:
    """Times both, the order changing from repeat to repeat; the first repeat does not count."""
    seconds: dict[str, list[tuple[float, float]]] = {"control": [], "ours": []}
    for repeat in range(repeats + 1):
        arms = [("control", control), ("ours", ours)]
        for name, work in arms if repeat % 2 else arms[::-1]:
            seconds[name].append(timed(work))
    columns = [np.array(seconds[name][1:]).T for name in ("control", "ours")]
    return Comparison(columns[0][0], columns[1][0], columns[0][1], columns[1][1])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a call; waits for the GPU where there is one."""
    _synchronise()
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    _synchronise()
    return time.perf_counter() - start, time.process_time() - cpu_start


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def environment() -> str:
    """Machine and device for a file's name, e.g. `x86_64-cpu`."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return re.sub(r"\W+", "-", f"{platform.machine()}-{device}").lower()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def append_row(path: Path, row: Row) -> None:
    """Adds a row to a CSV file that keeps those of earlier runs; its columns are those of its first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
