"""The golden tests under every instruction set that this machine has, with 1 and 2 threads.

    .venv/bin/python tool/every_cpu.py            # all settings
    .venv/bin/python tool/every_cpu.py --short    # the two that differ most from what the suite itself runs under

A setting caps oneDNN's instruction sets (ONEDNN_MAX_CPU_ISA), torch's own (ATEN_CPU_CAPABILITY) or OpenCV's vendor
path, in a pytest of its own. What the machine lacks is named and left out. At the end a table: tests passed and failed,
the comparison that came nearest to its tolerance (1 would be off), and the planted error that came nearest to it from
the other side. Exit code 1 when any test failed. Other arguments go to pytest.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OPENCV_IPP")
AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


@dataclass(frozen=True)
class Setting:
    """One way to run; `needs` are flags of /proc/cpuinfo."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()


def _onednn(isa: str, *needs: str) -> Setting:
    return Setting(f"oneDNN {isa}", {"ONEDNN_MAX_CPU_ISA": isa}, frozenset(needs))


def _aten(capability: str, *needs: str) -> Setting:
    return Setting(f"ATen {capability}", {"ATEN_CPU_CAPABILITY": capability}, frozenset(needs))


EVERYTHING = Setting("all of it")
AVX2_MACHINE = Setting(
    "oneDNN AVX2, ATen avx2",
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    frozenset({"avx2", "fma"}),
)
OLDEST = Setting("oneDNN SSE41, ATen default", {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"})
SETTINGS = (
    EVERYTHING,
    _onednn("SSE41", "sse4_1"),
    _onednn("AVX2", "avx2"),
    _onednn("AVX512_CORE", *AVX512),
    _onednn("AVX512_CORE_BF16", *AVX512, "avx512_bf16"),
    _onednn("AVX512_CORE_AMX", *AVX512, "amx_tile"),
    _aten("default"),
    _aten("avx2", "avx2", "fma"),
    _aten("avx512", *AVX512),
    AVX2_MACHINE,
    OLDEST,
    Setting("OpenCV without IPP", {"OPENCV_IPP": "disabled"}),
)
# The suite has just run with everything and one thread.
SHORT = ((AVX2_MACHINE, 1), (OLDEST, 2))


@dataclass
class Outcome:
    """What one pytest said."""

    setting: Setting
    threads: int
    passed: int
    failed: int
    nearest: str
    weakest: str
    seconds: float
    output: str

    @property
    def is_good(self) -> bool:
        return self.failed == 0 and self.passed > 0


def cpu_flags() -> set[str]:
    """Of the first processor; empty where /proc/cpuinfo has none."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return set(found[1].split()) if found else set()


def _count(output: str, word: str) -> int:
    return sum(int(number) for number in re.findall(rf"(\d+) {word}", output.splitlines()[-1] if output else ""))


def run(setting: Setting, threads: int, options: list[str]) -> Outcome:
    """The golden tests under one setting."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shares = Path(folder) / "shares"
        environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        environment |= setting.variables
        environment |= {"OMP_NUM_THREADS": str(threads), "GOLDEN_THREADS": str(threads), "GOLDEN_SHARES": str(shares)}
        command = [sys.executable, "-m", "pytest", "-m", "golden", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        lines = shares.read_text().splitlines() if shares.exists() else []
    noted = [(kind, float(number), what) for kind, number, what in (line.split(" ", 2) for line in lines)]
    compared = [(number, what) for kind, number, what in noted if kind == "compared"]
    planted = [(number, what) for kind, number, what in noted if kind == "planted"]
    failed = _count(done.stdout, "failed") + _count(done.stdout, "errors?")
    if done.returncode not in (0, 1):
        failed = max(failed, 1)
    return Outcome(
        setting,
        threads,
        _count(done.stdout, "passed"),
        failed,
        "{:.2f} {}".format(*max(compared)) if compared else "-",
        "{:.0f} {}".format(*min(planted)) if planted else "-",
        time.monotonic() - begin,
        done.stdout + done.stderr,
    )


def table(outcomes: list[Outcome]) -> str:
    """One line a run; both comparisons in tolerances."""
    rows = [("setting", "threads", "passed", "failed", "s", "nearest to its tolerance", "weakest planted error")]
    rows += [
        (o.setting.name, str(o.threads), str(o.passed), str(o.failed), f"{o.seconds:.0f}", o.nearest, o.weakest)
        for o in outcomes
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Everything else goes to pytest.")
    parser.add_argument("--short", action="store_true", help="two settings, those that differ most")
    arguments, options = parser.parse_known_args()
    flags, planned = cpu_flags(), []
    for setting, threads in SHORT if arguments.short else [(s, n) for n in (1, 2) for s in SETTINGS]:
        if missing := setting.needs - flags:
            if threads == 1:
                print(f"left out: {setting.name}: /proc/cpuinfo has no {', '.join(sorted(missing))}")
        else:
            planned.append((setting, threads))

    def go(plan: tuple[Setting, int]) -> Outcome:
        outcome = run(*plan, options)
        print(
            f"{outcome.setting.name}, {outcome.threads} threads: {outcome.passed} passed, {outcome.failed} failed",
            flush=True,
        )
        if not outcome.is_good:
            print(outcome.output, flush=True)
        return outcome

    outcomes: list[Outcome] = []
    for threads in (1, 2):
        # As many runs at a time as fit two cores.
        with ThreadPoolExecutor(max_workers=2 // threads) as pool:
            outcomes += pool.map(go, [plan for plan in planned if plan[1] == threads])
    print(table(outcomes))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
