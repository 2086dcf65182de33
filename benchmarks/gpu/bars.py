"""What the rows of benchmarks/gpu_all.py must show on a GPU."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple


class Bar(NamedTuple):
    """A bar for one field of the rows of a part.

    Attributes:
        part, what: of the rows.
        arm: of the rows; "": of any, and the best row counts.
        field: that is compared.
        least, most: the field's limits; None: no limit.
        goal: what would be better still, for the reader.
    """

    part: str
    what: str
    arm: str
    field: str
    least: float | None = None
    most: float | None = None
    goal: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value is within the limits."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


BARS = (
    Bar("correct", "logits against float64", "fp32", "largest_relative", most=1e-3),
    Bar("correct", "the same run twice, deterministic", "", "unequal_tensors", most=0),
    Bar("correct", "catalyst = control, deterministic", "", "unequal_tensors", most=0),
    Bar("correct", "resumed = uninterrupted, deterministic", "", "unequal_tensors", most=0),
    Bar("correct", "resumed = uninterrupted, resizes as products", "", "unequal_tensors", most=0),
    Bar("step", "step", "swap/fast_step", "ratio", least=2.5),
    Bar("step", "step", "swap/fast_step", "share_of_bf16_rate", least=0.42, goal="0.45"),
    Bar("tester", "tester", "", "ratio", least=15, goal="40 in bf16, channels_last"),
    Bar("tester", "tester", "", "share_of_bound", least=0.6),
    Bar("tester", "tester", "fast fp32 contiguous", "agreement", least=0.9999),
    Bar("syncbn", "catalyst = control, SyncBatchNorm, 2 processes", "", "unequal_tensors", most=0),
    Bar("syncbn", "with SyncBatchNorm = without", "", "unequal_tensors", least=1),
    Bar("data", "loader", "crop_first", "images_per_s", least=156),
)


def verdicts(rows: Sequence[Mapping[str, object]], parts: Collection[str]) -> Iterator[str]:
    """A line for each bar of the parts that ran: held, missed, or no row to hold it against."""
    for bar in BARS:
        if bar.part not in parts:
            continue
        asked = f"{bar.part}: {bar.what} {bar.arm}".strip() + f": {bar.field}"
        asked += "".join(
            f" {sign} {limit:g}" for sign, limit in ((">=", bar.least), ("<=", bar.most)) if limit is not None
        )
        asked += f" (goal {bar.goal})" if bar.goal else ""
        values = [
            row[bar.field]
            for row in rows
            if (row.get("part"), row.get("what")) == (bar.part, bar.what)
            and bar.arm in ("", row.get("arm"))
            and isinstance(row.get(bar.field), (int, float))
        ]
        if not values:
            yield f"NO ROW  {asked}"
            continue
        value = max(values) if bar.least is not None else min(values)
        yield f"{'held  ' if bar.holds(value) else 'MISSED'}  {asked}: {value:g}"
