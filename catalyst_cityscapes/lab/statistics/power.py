"""What a number of seeds can show."""

import numpy as np
from scipy import optimize, stats


def smallest_effect(seeds: int, sd: float, power: float = 0.8, confidence: float = 0.95) -> float:
    """The true mean difference whose `seed_interval` excludes 0, on the right side, with probability `power`.

    Exact for normal differences: (mean / sd) * sqrt(seeds) is noncentral t; the noncentrality with the wanted power is
    solved for. A smaller true difference will more often be missed than that.

    Source: Cohen, Statistical Power Analysis (1988), chapter 2; scipy.stats.nct.

    Args:
        seeds: pairs of runs, 2 or more.
        sd: standard deviation of the paired differences, in the unit of the answer, 0 or more.
        power: more than (1 - confidence) / 2, which no effect at all has, and less than 1.
        confidence: of the interval, 0..1 exclusive.

    Returns:
        The difference, 0 or more, in the unit of `sd`.

    Raises:
        ValueError: an argument outside its range.
    """
    if seeds < 2:
        raise ValueError(f"{seeds} seeds: expected 2 or more")
    if not (np.isfinite(sd) and sd >= 0):
        raise ValueError(f"sd {sd}: expected 0 or more")
    if not (0 < confidence < 1 and (1 - confidence) / 2 < power < 1):
        raise ValueError(f"power {power}, confidence {confidence}: expected 0 < (1 - confidence) / 2 < power < 1")
    critical = stats.t.ppf((1 + confidence) / 2, seeds - 1)
    found = optimize.brentq(lambda shift: stats.nct.sf(critical, seeds - 1, shift) - power, 0.0, 10 * critical + 10)
    return float(found) * sd / float(np.sqrt(seeds))
