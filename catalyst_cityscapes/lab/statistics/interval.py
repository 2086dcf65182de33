"""A confidence interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Lower and upper end, in the unit of what was estimated; `low` <= `high`."""

    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether 0 lies outside. An end that is exactly 0 does not exclude it."""
        return self.low > 0 or self.high < 0
