"""Where a part runs: device, folders, sizes, and the rows it writes."""

import contextlib
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import accelerate
import cv2
import numpy as np
import torch

from catalyst_cityscapes.runs.environment import versions

OUT, WORK = Path(os.environ["GPU_OUT"]), Path(os.environ["GPU_WORK"])
TINY = bool(os.environ["GPU_TINY"])
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
CARD = torch.cuda.get_device_name() if CUDA else "cpu"
CORES = len(os.sched_getaffinity(0))
CROP, BATCH = (33, 2) if TINY else (713, 16)
SMALL_CROP, SMALL_BATCH = (33, 2) if TINY else (89, 4)
"""For comparisons of bits: pooling to 1, 2, 3 and 6 cells has a deterministic gradient where they divide the features,
as of crops 89, 137, 185 and 713."""
SCENE = (64, 96) if TINY else (1024, 2048)
PART = Path(sys.argv[0]).stem
ABOUT = {
    "card": CARD,
    "torch": torch.__version__,
    "cuda": torch.version.cuda,
    "cudnn": torch.backends.cudnn.version(),
    "cv2": cv2.__version__,
    "numpy": np.__version__,
    "accelerate": accelerate.__version__,
    "python": sys.version.split()[0],
    "code": versions()["code"],
    "tiny": TINY,
    "command": f"benchmarks/gpu_all.py {PART}",
}


def say(what: str, arm: str = "", **values: object) -> None:
    """Writes a row: to the file of all rows at once, so that a part that is stopped keeps what it had."""
    rounded = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in values.items()}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"part": PART, "what": what, "arm": arm, **rounded, "time_utc": now, **ABOUT}
    with open(OUT / "gpu.jsonl", "a") as file:
        file.write(json.dumps(row, default=str) + "\n")
    print({"what": what, "arm": arm, **rounded}, flush=True)


@contextlib.contextmanager
def told(what: str, arm: str = "") -> Iterator[None]:
    """Makes a row of an error inside the block, and goes on after it: one arm that fails does not cost the others."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        say(what, arm, error=f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")
    finally:
        if CUDA:
            torch.cuda.empty_cache()


def wait() -> None:
    """Waits until the device has done what it was given."""
    if CUDA:
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], repeats: int, warm_up: int = 3) -> float:
    """Median seconds of a call: by events on a GPU, so that launching the next one is hidden as it is in a training."""
    repeats, warm_up = (1, 1) if TINY else (repeats, warm_up)
    for _ in range(warm_up):
        work()
    wait()
    if not CUDA:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    wait()
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in pairwise(marks))


def matrix_rate(dtype: torch.dtype, repeats: int = 20) -> float:
    """FLOP a second of a large square matrix product of random numbers."""
    side = 256 if TINY else 8192
    left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: left @ right, repeats)
