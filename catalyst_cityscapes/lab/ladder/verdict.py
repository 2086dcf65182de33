"""What may be said of a component's effect, in words. Points are hundredths of mIoU."""

from collections.abc import Sequence

from catalyst_cityscapes.lab.analysis.analysis import FEWEST_PAIRS
from catalyst_cityscapes.lab.analysis.verdict import LEVEL, SIGN_FLIP_SEEDS, interval_text, points
from catalyst_cityscapes.lab.ladder.waterfall import Effect


def compared(effects: Sequence[Effect | None]) -> int:
    """How many effects of a view are tested."""
    return sum(effect is not None and effect.p is not None for effect in effects)


def span(effect: Effect | None) -> str:
    """In points: `-1.20 (-2.00 to -0.40)`, with what is there; `-` where the design leaves it out."""
    if effect is None:
        return "-"
    if effect.same:
        return "none: same run"
    if effect.mean is None:
        return "no pair finished"
    if effect.interval is None:
        return f"{points(effect.mean)} ({_pairs(effect)})"
    return f"{points(effect.mean)} ({interval_text(effect.interval)})"


def verdict(effect: Effect, among: int = 1) -> str:
    """What an effect shows, and no more.

    Args:
        effect: of a component, or the total.
        among: how many components its view tests.
    """
    if effect.same:
        return "changes no number here: the same training and test"
    unclear = _unclear(effect)
    if unclear:
        return unclear
    mean, between = effect.mean, interval_text(effect.interval)
    if not effect.is_shown:
        return f"no effect shown: {points(mean)} points, anything from {between} fits ({_pairs(effect)})"
    text = f"{'raises' if mean > 0 else 'lowers'} mIoU by {abs(100 * mean):.2f} points ({between})"
    if among > 1 and effect.p_holm > LEVEL:
        return f"{text} if looked at alone; one of {among} components, so it may be chance (Holm p {effect.p_holm:.3f})"
    also = f", also as one of {among} components" if among > 1 else ""
    return f"{text}: more than the noise of {_pairs(effect)}{also}"


def remainder_verdict(effect: Effect) -> str:
    """What a remainder shows of interactions."""
    if effect.same:
        return "one component only: nothing to interact with"
    unclear = _unclear(effect)
    if unclear:
        return unclear
    between = interval_text(effect.interval)
    if effect.is_shown:
        return f"the single effects do not add up: {points(effect.mean)} points ({between}) are left to interactions"
    return f"no interaction shown: {points(effect.mean)} points are left, anything from {between} fits"


def _unclear(effect: Effect) -> str:
    if effect.mean is None or effect.interval is None:
        return f"too few seeds: {_pairs(effect)} with all runs finished, an interval takes {FEWEST_PAIRS}"
    text = f"{points(effect.mean)} points ({interval_text(effect.interval)})"
    if len(effect.seeds) < SIGN_FLIP_SEEDS:
        return f"too few seeds for a claim: {text} over {_pairs(effect)}; the sign-flip test takes {SIGN_FLIP_SEEDS}"
    if effect.interval.excludes_zero() != (effect.p_sign_flip <= LEVEL):
        return f"unclear: {text}, sign-flip p {effect.p_sign_flip:.3f}; the two tests disagree"
    return ""


def _pairs(effect: Effect) -> str:
    return "1 seed" if len(effect.seeds) == 1 else f"{len(effect.seeds)} seeds"
