"""One measured or read effect of a recipe, and how it is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalyst_cityscapes.lab.diff.distance import Measure, over_progress

MEASURED, READ = "measured", "read"
CURVE_POINTS = 200


@dataclass(frozen=True)
class Fact:
    """One effect of one recipe.

    Attributes:
        family, member: together its name; members of a family with equal values share a line of the table.
        topics: what of a recipe can change it, see `keys.topics`.
        value: what `measure` compares.
        text: for people.
        measure: distance of two values.
        detail: the value for JSON.
        basis: `measured`, or `read` from the recipe where nothing short of a training would show it.
    """

    family: str
    member: str
    topics: frozenset[str]
    value: Any
    text: str
    measure: Measure
    detail: Any = None
    basis: str = MEASURED

    @property
    def name(self) -> str:
        """Family and member."""
        return f"{self.family}: {self.member}" if self.member else self.family


@dataclass
class Collector:
    """Takes the facts of one topic after the other."""

    facts: list[Fact] = field(default_factory=list)

    def add(
        self,
        name: str | tuple[str, str],
        topics: str,
        value: Any,
        measure: Measure,
        text: str | None = None,
        detail: Any = None,
        basis: str = MEASURED,
    ) -> None:
        """Adds a fact; `topics` are words, text and detail are the value's own where they are None."""
        family, member = (name, "") if isinstance(name, str) else name
        shown = written(value) if text is None else text
        known = value if detail is None else detail
        self.facts.append(Fact(family, member, frozenset(topics.split()), value, shown, measure, known, basis))

    def read(self, name: str, topics: str, value: Any, measure: Measure, text: str | None = None) -> None:
        """Adds a fact that is read from the recipe."""
        self.add(name, topics, value, measure, text, basis=READ)


def written(value: Any) -> str:
    """A value in a table: 37200 as 37,200, 0.0123456 as 0.0123, True as yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def curve_text(curve: np.ndarray) -> str:
    """First, peak and last value of a curve; a constant one once."""
    if not len(curve):
        return "none"
    first, peak, last = curve[0], curve.max(), curve[-1]
    if np.ptp(curve) <= 1e-9 * max(abs(peak), 1e-300):
        return written(float(first))
    middle = [] if peak in (first, last) else [peak]
    return " → ".join(written(float(value)) for value in (first, *middle, last))


def curve_detail(curve: np.ndarray) -> dict[str, Any]:
    """A curve for JSON: first, peak, last, its sum over all steps, and 200 values over the progress."""
    if not len(curve):
        return {"steps": 0}
    return {
        "steps": len(curve),
        "first": float(curve[0]),
        "peak": float(curve.max()),
        "last": float(curve[-1]),
        "sum": float(curve.sum()),
        "over_progress": [float(value) for value in over_progress(curve, CURVE_POINTS)],
    }


def draws_text(values: Sequence[float] | np.ndarray, pattern: str = "{:.3g}") -> str:
    """Median and the range of the middle 90 % of drawn values; a single value once."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return "nothing visible"
    low, middle, high = (pattern.format(value + 0.0) for value in np.quantile(finite, (0.05, 0.5, 0.95)))
    return middle if low == high else f"{middle} ({low} .. {high})"
