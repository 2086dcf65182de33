"""What may be said of an arm, in words. Points are hundredths of mIoU."""

from dataclasses import dataclass

from catalyst_cityscapes.lab.statistics import Interval, smallest_sign_flip_p

LEVEL = 0.05
UNEVEN = 3.0
"""One arm's runs scatter so many times as far as the other's: the interval's coverage may suffer."""
SIGN_FLIP_SEEDS = next(seeds for seeds in range(1, 64) if smallest_sign_flip_p(seeds) <= LEVEL)


@dataclass(frozen=True)
class Evidence:
    """What is known of an arm's mIoU against the base's; see `ArmComparison` for what is shared with it.

    Attributes:
        pairs: seeds that both arms have finished.
        identical: of them, those with equal results.
        images: number of scored images.
        base_sd, arm_sd: scatter of the paired runs; None with fewer than two.
    """

    pairs: int
    mean: float | None
    sd: float | None
    seed_interval: Interval | None
    p_t: float | None
    p_sign_flip: float | None
    image_interval: Interval | None
    smallest_effect: float | None
    identical: int
    images: int
    base_sd: float | None
    arm_sd: float | None


def points(value: float | None) -> str:
    """A difference in points with its sign: 0.0123 -> +1.23; `-` for none."""
    return "-" if value is None else f"{100 * value:+.2f}"


def share(value: float | None) -> str:
    """A score in points: 0.7123 -> 71.23; `-` for none."""
    return "-" if value is None else f"{100 * value:.2f}"


def interval_text(interval: Interval | None) -> str:
    """An interval in points: +0.10 to +1.30; `-` for none."""
    return "-" if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def shows(seed_interval: Interval | None, p_sign_flip: float | None) -> bool:
    """Whether a difference may be claimed: interval over seeds and sign-flip test agree."""
    return (
        seed_interval is not None and p_sign_flip is not None and seed_interval.excludes_zero() and p_sign_flip <= LEVEL
    )


def verdict_on(evidence: Evidence, p_arms: float | None = None) -> str:
    """One sentence on the difference; it claims one only where `shows` says so.

    Args:
        evidence: of the arm.
        p_arms: p-value of the t-test after Holm's correction over the arms; None where only one was compared.
    """
    if evidence.pairs == 0 or evidence.mean is None:
        return "no seed is finished in both arms"
    if evidence.identical == evidence.pairs:
        return f"identical scores in every seed ({evidence.pairs})"
    mean, interval, p = evidence.mean, evidence.seed_interval, evidence.p_sign_flip
    if interval is None or p is None:
        pairs = "one pair" if evidence.pairs == 1 else f"{evidence.pairs} pairs"
        return (
            f"too few seeds: {pairs}, {points(mean)} points; an interval takes 3 seeds, "
            f"the sign-flip test {SIGN_FLIP_SEEDS}"
        )
    text = f"{abs(100 * mean):.2f} points ({interval_text(interval)})"
    side = "better" if mean > 0 else "worse"
    if shows(interval, p):
        alone = ", taken alone" if p_arms is not None and p_arms > LEVEL else ""
        return f"{side} by {text}: more than the noise of {evidence.pairs} seeds{alone}"
    if interval.excludes_zero() and evidence.pairs < SIGN_FLIP_SEEDS:
        return (
            f"too few seeds: {side} by {text} if both arms scatter alike and without outliers; a sign-flip test cannot "
            f"confirm it, its p is at least {smallest_sign_flip_p(evidence.pairs):.3g} with {evidence.pairs} seeds and "
            f"needs {SIGN_FLIP_SEEDS} to reach {LEVEL}"
        )
    if interval.excludes_zero() or p <= LEVEL:
        return (
            f"unclear: {points(mean)} points ({interval_text(interval)}), sign-flip p {p:.3f}; the two tests disagree"
        )
    effect = 100 * (evidence.smallest_effect or 0.0)
    few = "too few seeds for a claim: " if evidence.pairs < SIGN_FLIP_SEEDS else ""
    return (
        f"{few}within noise: {points(mean)} points ({interval_text(interval)}); with {evidence.pairs} seeds "
        f"the interval shows a true difference of {effect:.2f} in 4 of 5 labs, smaller ones less often"
    )


def notes_on(evidence: Evidence, planned: int, p_arms: float | None, tested_arms: int) -> tuple[str, ...]:
    """What should be known beside the verdict.

    Args:
        evidence: of the arm.
        planned: seeds of the lab.
        p_arms: p-value after Holm's correction over the arms.
        tested_arms: how many arms that was.
    """
    notes = []
    if evidence.pairs < planned:
        notes.append(f"{evidence.pairs} of {planned} seeds are finished in both arms")
    if evidence.pairs == 0 or evidence.identical == evidence.pairs:
        return tuple(notes)
    if evidence.identical:
        notes.append(f"{evidence.identical} of {evidence.pairs} seeds have identical results in both arms")
    claims = evidence.seed_interval is not None and evidence.seed_interval.excludes_zero()
    if claims and tested_arms > 1 and p_arms is not None and p_arms > LEVEL:
        notes.append(
            f"one of {tested_arms} arms that were compared: with Holm's correction for that, p is {p_arms:.3f}"
        )
    if claims and evidence.image_interval is not None and not evidence.image_interval.excludes_zero():
        notes.append(f"on other images of the kind it may be 0: {interval_text(evidence.image_interval)} over images")
    if evidence.images and evidence.image_interval is None:
        notes.append(f"no interval over images: {evidence.images} are too few")
    if evidence.base_sd is not None and evidence.arm_sd is not None and evidence.pairs > 2:
        low, high = sorted((evidence.base_sd, evidence.arm_sd))
        if high > 0 and low == 0:
            who = "base" if evidence.base_sd == 0 else "arm"
            notes.append(f"the {who} has the same score with every seed; the interval over seeds may cover too little")
        elif low > 0 and high / low > UNEVEN:
            who = "arm" if evidence.arm_sd > evidence.base_sd else "base"
            notes.append(
                f"the {who} scatters {high / low:.1f} times as far as the other: where that noise is skewed, the "
                "interval over seeds covers less than 95 %"
            )
    if evidence.sd == 0:
        notes.append("the difference is the same in every seed: do the seeds reach the runs?")
    return tuple(notes)
