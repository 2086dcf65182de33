"""Linear warm-up, then linear decay: Catalyst 20.06's OneCycleLRWithWarmup."""


def one_cycle(position: float, warmup: float, total: float, values: tuple[float, float, float]) -> float:
    """Piecewise linear: from the first value to the second over `warmup`, then to the third at `total`.

    Args:
        position, warmup, total: in steps; the position is clipped to [0, total].
        values: at 0, at `warmup`, and at `total`.
    """
    start, middle, end = values
    position = min(max(position, 0.0), total)
    if position < warmup:
        return start + (middle - start) * position / warmup
    return middle + (end - middle) * (position - warmup) / max(total - warmup, 1e-12)
