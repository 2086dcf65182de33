"""The one place where a golden number's tolerance comes from.

Two right float32 runs of one computation, the reference's on the golden files' processor and ours on the machine at
hand, are each off the truth by roundings that depend on the order of additions, and so on the processor, the
instruction set and the number of threads. How far those roundings can move a result is its *spread*: `rounding.py` has
the law and argues it, `derive_spreads.py` applied it to every golden file and wrote `float32_spread.json`. No measured
difference between processors went into it, so nothing is fitted to one.

    tolerance = 3 * spread:

twice, because both runs are off, each by the spread at most, perhaps to opposite sides; and half as much again, because
the spread is the largest of a few draws, and the next draw may exceed it. After a backward pass it is

    tolerance = 10 * spread,

because chance has more of a say there: a unit that rounding moves across zero switches its whole gradient on or off,
few units do, and each draw meets others.

The spread supposes the longest sums, one term after the other in float32. Kernels that add in blocks stay well inside:
docs/results.md has the shares of the tolerance that were measured. A wrong kernel does not: test_planted_errors.py.
"""

import json
import math
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from support.golden.rounding import UNIT_ROUNDOFF, resize_rounding

MARGIN = 3.0
BACKWARD_MARGIN = 10.0
DRAWS = 2
TABLE = Path(__file__).with_name("float32_spread.json")
# Names a file to which `check` adds a line for each comparison; tool/every_cpu.py reads it.
SHARES = "GOLDEN_SHARES"


# A whole image's probabilities are averages of windows' and mirror images', resized with weights that sum up to 1, and
# no average is further off than the worst of its parts. So whole images take the spread of a small file whose windows
# are made by the same weights from the same kind of image. Where the image is resized first it is a file that does so
# too, times what the rounding of a coordinate is larger in the larger image.
SAME_WINDOWS = {
    "tester_landscape_ss": ("tester_scale_process_a", 1.0),
    "tester_small_padded": ("tester_scale_process_a", 1.0),
    "tester_zoom1": ("tester_scale_process_a", 1.0),
    "tester_landscape_ms": ("tester_three_images", resize_rounding(150, 260) / resize_rounding(70, 90)),
    "tester_portrait_ms": ("tester_three_images", resize_rounding(180, 110) / resize_rounding(70, 90)),
}


@cache
def _table() -> dict[str, dict[str, tuple[float, float]]]:
    return json.loads(TABLE.read_text())


def margin(quantity: str) -> float:
    """By a quantity's name: whether a backward pass goes before it."""
    return BACKWARD_MARGIN if quantity.startswith(("grad/", "state/")) else MARGIN


class Tolerances:
    """Tolerances of the quantities of one golden file, named as in `runs.py`."""

    def __init__(self, spreads: dict[str, tuple[float, float]], file: str) -> None:
        self.spreads, self.file = spreads, file

    def each(self, quantity: str) -> float:
        """For each element."""
        return margin(quantity) * self.spreads[quantity][1]

    def loss(self) -> float:
        """For the main and aux loss of one step: single numbers, so neither is held to less than the other."""
        return max(self.each("main_loss"), self.each("aux_loss"))

    def losses(self, iterations: int) -> np.ndarray:
        """For the main and aux loss of each iteration; few numbers, so none is held to less than one before."""
        return np.maximum.accumulate([self.each(f"loss/{k}") for k in range(iterations)])

    def sum(self, quantity: str, n: int, parts: int = 1) -> float:
        """For the sum, or the sum of absolute values, of all n elements, or of one of `parts` equal parts of them.

        By Cauchy and Schwarz a sum changes by at most the root of its length times the norm of the change, whatever the
        signs are; and the norm over one part is at most that over all.
        """
        return margin(quantity) * self.spreads[quantity][0] * n / math.sqrt(parts)

    def check(self, quantity: str, found: object, expected: object, allowed: float | np.ndarray | None = None) -> None:
        """Asserts that `found` is `expected` within the tolerance.

        Args:
            quantity: its name.
            found, expected: numbers or arrays of one shape.
            allowed: tolerance, where it is not that of each element.
        """
        allowed = self.each(quantity) if allowed is None else allowed
        check(f"{self.file} {quantity}", found, expected, allowed)


def tolerances(file: str) -> Tolerances:
    """Those of one golden file, by its name without ending."""
    source, times = SAME_WINDOWS.get(file, (file, 1.0))
    spreads = _table()[source]
    if file in SAME_WINDOWS:
        spreads = {"prob": tuple(times * max(values) for values in zip(*spreads.values(), strict=True))}
    return Tolerances(spreads, file)


def share(found: object, expected: object, allowed: float | np.ndarray) -> float:
    """The largest difference as a share of what is allowed; infinite where a value is no number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    difference = np.abs(found - expected)
    if not np.isfinite(difference).all():
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(difference == 0, 0.0, difference / allowed)
    return float(shares.max(initial=0))


def _note(line: str) -> None:
    if path := os.environ.get(SHARES):
        with open(path, "a") as file:
            file.write(f"{line}\n")


def planted(what: str, found: object, expected: object, allowed: float | np.ndarray) -> float:
    """How many times the tolerance a planted error moves a result."""
    times = share(found, expected, allowed)
    _note(f"planted {times:.6g} {what}")
    return times


def check(what: str, found: object, expected: object, allowed: float | np.ndarray) -> None:
    """Asserts that two float32 results agree within `allowed`."""
    used = share(found, expected, allowed)
    _note(f"compared {used:.6g} {what}")
    assert used <= 1, f"{what}: off by {used:.3g} times the tolerance of {np.max(allowed):.3g}"


def grey_levels(height: int, width: int) -> float:
    """For what OpenCV resizes or warps an image of this size to, in grey levels: two programs, each off by its own."""
    return 2 * resize_rounding(height, width)


def running_statistics(steps: int) -> float:
    """For batch norm's running statistics beside their spread, as a share of the value.

    Each step of 0.9 * old + 0.1 * new rounds three times, in each of two runs. The operation does it inside, where the
    noise does not reach.
    """
    return 2 * 3 * steps * UNIT_ROUNDOFF


def one_pixel(labels: Iterable[np.ndarray], classes: int, ignore: int = 255) -> float:
    """What one pixel of another class can change in mIoU, mAcc or allAcc.

    It moves the intersections and unions of two classes by at most one each, and so each IoU by at most two over the
    union, which is no smaller than the class's labelled area. A class that no label has keeps its IoU of 0.
    """
    area = np.bincount(np.concatenate([label.ravel() for label in labels]), minlength=ignore + 1)[:classes]
    return 2 * 2 / (classes * int(area[area > 0].min()))
