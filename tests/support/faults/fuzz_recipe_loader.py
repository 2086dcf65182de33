"""Loads randomly changed recipes (or ladder plans) until the time is up, and reports what a loader must not do.

    python tests/support/faults/fuzz_recipe_loader.py --seconds 300 --seed 0
    python tests/support/faults/fuzz_recipe_loader.py --seconds 60 --target ladder --keep findings

A finding is an exception that is no InputError, a refusal of more than one printable line, or a load of more than
`--patience` seconds. Each one is shown once, with the seed that makes it. Exit code 1 with findings, else 0.
"""

import argparse
import random
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.faults.recipe_mutations import LADDERS, RECIPES, load_bytes, load_ladder_bytes, mutated

TARGETS = {"recipe": (load_bytes, RECIPES), "ladder": (load_ladder_bytes, LADDERS)}


class HangError(BaseException):
    """A load took longer than it may; no Exception, so that no loader can take it for one of its own."""


@dataclass
class Tally:
    """What a run of the fuzzer saw.

    Attributes:
        loads: examples.
        accepted: of these, the valid ones.
        slowest: seconds of the longest load.
        findings: (seed, what happened), one for each kind.
    """

    loads: int = 0
    accepted: int = 0
    slowest: float = 0.0
    findings: dict[str, tuple[int, str]] = field(default_factory=dict)


def _stop(number: int, frame: object) -> None:
    raise HangError


def _kind(error: BaseException) -> str:
    """Exceptions of one type from one line are one finding."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__ if isinstance(error, HangError) else f"{type(error).__name__} {last.name}:{last.lineno}"


def fuzz(
    seed: int,
    more: Callable[[Tally], bool],
    patience: float = 10.0,
    target: str = "recipe",
    keep: Path | None = None,
) -> Tally:
    """Loads the examples of seed, seed + 1, ... while `more` says so.

    Args:
        seed: of the first example.
        more: asked before each load.
        patience: seconds after which a load hangs.
        target: of `TARGETS`.
        keep: folder that gets the input of each finding.
    """
    load, files = TARGETS[target]
    tally = Tally()
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        with tempfile.TemporaryDirectory() as folder:
            while more(tally):
                content = mutated(random.Random(seed), files)
                began = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, patience)
                try:
                    tally.accepted += load(content, Path(folder)) is not None
                except (Exception, HangError) as error:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    if _kind(error) not in tally.findings:
                        tally.findings[_kind(error)] = (seed, traceback.format_exc())
                        if keep is not None:
                            keep.mkdir(parents=True, exist_ok=True)
                            (keep / f"{target}_{seed}.yml").write_bytes(content)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                tally.slowest = max(tally.slowest, time.monotonic() - began)
                tally.loads += 1
                seed += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    return tally


def main() -> int:
    """Runs the fuzzer; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first example; the next one has the next seed")
    parser.add_argument("--target", choices=TARGETS, default="recipe")
    parser.add_argument("--patience", type=float, default=10, help="seconds after which a load hangs")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="gets the input of each finding")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    tally = fuzz(options.seed, lambda _: time.monotonic() < end, options.patience, options.target, options.keep)
    for seed, text in tally.findings.values():
        print(f"seed {seed}:\n{text}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{tally.loads} loads, {tally.loads / options.seconds:.0f} a second, slowest {tally.slowest:.2f} s, "
        f"peak memory {peak:.0f} MiB; {tally.accepted} accepted, {len(tally.findings)} findings"
    )
    return 1 if tally.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
