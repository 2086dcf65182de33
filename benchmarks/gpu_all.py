"""Everything that one GPU can show in under ten minutes, from a plain checkout: nothing installed, no network.

    python3 benchmarks/gpu_all.py                           # first call: ops correct step tester syncbn data
    python3 benchmarks/gpu_all.py end_to_end camvid         # second call
    python3 benchmarks/gpu_all.py --tiny                    # all parts on a CPU, at toy size

Each part (benchmarks/gpu/PART.py) is a process of its own with a time limit; its rows go to OUT/gpu.jsonl as they come,
what it prints to OUT/gpu.log. At the end the rows are held against benchmarks/gpu/bars.py. Which files a machine needs,
the calls, and what each row must show: benchmarks/gpu.md. Only the standard library is used here.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
FIRST_CALL = {"ops": 60, "correct": 110, "step": 190, "tester": 80, "syncbn": 60, "data": 80}
"""Seconds at most, in the order of their worth: what is cut off by the limit is the least of it."""
SECOND_CALL = {"end_to_end": 120, "camvid": 240}
PARTS = FIRST_CALL | SECOND_CALL
SHORTEST = 25
"""Seconds; a part that would get less is left out."""
LIMIT, TINY_LIMIT = 520, 3000
"""Seconds for all parts together."""


def main() -> int:
    """Runs the parts; returns 0 when all of them ended well, whatever they showed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a part that runs is stopped on the way out
    out, work = Path(options.out).resolve(), Path(options.work).resolve()
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    environment = _environment(work, Path(options.wheels), out, options.tiny)
    limit = options.limit or (TINY_LIMIT if options.tiny else LIMIT)
    start, codes = time.time(), {}
    for name in options.parts or (PARTS if options.tiny else FIRST_CALL):
        left = limit - (time.time() - start)
        codes[name] = _run(name, left if options.tiny else min(PARTS[name], left), environment, out)
    _print_bars(out, codes)
    return int(any(codes.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: the first six")
    parser.add_argument("--tiny", action="store_true", help="toy sizes; all parts where none is named")
    parser.add_argument("--out", default=os.environ.get("OUT") or "gpu_out", help="folder of rows, log and profiles")
    parser.add_argument("--work", default="gpu_work", help="folder of everything else")
    parser.add_argument("--wheels", default=".whl", help="folder of the wheels that were brought along")
    parser.add_argument("--limit", type=float, help=f"seconds for all parts together; default: {LIMIT}")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return options


def _environment(work: Path, wheels: Path, out: Path, tiny: bool) -> dict[str, str]:
    # Wheels are unpacked and not installed: pip from 24.1 on refuses catalyst's metadata, and nothing else is needed.
    site = work / "site"
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    paths = [str(ROOT), str(BENCHMARKS), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # for deterministic products; to be set before the first of them
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "OMP_NUM_THREADS": "4",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "GPU_OUT": str(out),
        "GPU_WORK": str(work),
        "GPU_TINY": "1" if tiny else "",
    }


def _run(name: str, limit: float, environment: dict[str, str], out: Path) -> int | str:
    if limit < SHORTEST:
        return _say(out, part=name, what="end", code="no time left")
    began = time.time()
    with open(out / "gpu.log", "a") as log:
        log.write(f"==== {name}\n")
        log.flush()
        command = [sys.executable, "-m", f"gpu.{name}"]
        # A group of its own, so that a part that is stopped takes loader processes and compilers with it.
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            code: int | str = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = "timeout"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _say(out, part=name, what="end", code=code, seconds=round(time.time() - began, 1))


def _say(out: Path, **row: object) -> int | str:
    line = json.dumps(row)
    print(line, flush=True)
    with open(out / "gpu.jsonl", "a") as file:
        file.write(line + "\n")
    return row["code"]


def _print_bars(out: Path, parts: Sequence[str]) -> None:
    sys.path.insert(0, str(BENCHMARKS))
    from gpu.bars import verdicts

    rows = [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]
    for verdict in verdicts(rows, parts):
        print(verdict, flush=True)


if __name__ == "__main__":
    sys.exit(main())
