"""The picture of a ladder: the waterfall from one score to the other, and beside it each component's effect alone."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catalyst_cityscapes.lab.analysis.verdict import points
from catalyst_cityscapes.lab.ladder.waterfall import Effect, Waterfall
from catalyst_cityscapes.report.figure import bare, fitted, save_png

RISE, FALL, EVEN, ENDS = "#2a7f62", "#c0392b", "#9aa0a6", "#34495e"
ADDED, REMOVED = "#1f77b4", "#e08214"
ROW_INCHES, DPI = 0.42, 130
REMAINDER = "remainder\n(interactions)"


def draw_ladder(found: Waterfall, path: Path) -> None:
    """Writes the picture, PNG.

    Left: the score after each step of the path, mIoU in percent; at the end of each bar the step's 95 % interval.
    Right: each component's effect alone, in points, with 95 % intervals. A panel without data is left out. Pale bars
    and hollow marks are effects that the seeds do not show.

    Args:
        found: what the ladder measured.
        path: file to write.
    """
    names = [fitted(bar.rung.name, 46) for bar in found.bars]
    has_path = bool(found.levels)
    has_single = any(bar.added is not None or bar.removed is not None for bar in found.bars)
    rows = ["FROM", *names, "TO", REMAINDER]
    panels = has_path + has_single
    figure = Figure(figsize=(4.0 + 4.6 * max(panels, 1), 1.6 + ROW_INCHES * len(rows)), layout="constrained")
    axes = list(figure.subplots(1, max(panels, 1), sharey=True, squeeze=False)[0])
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for axis in axes:
        bare(axis)
        axis.axhline(len(rows) - 1.5, color="#c5c9cc", linewidth=0.8)
    if has_path:
        _draw_path(axes[0], found)
    if has_single:
        _draw_single(axes[-1], found)
    axes[-1].plot([], [], "o", color=EVEN, markerfacecolor="white", label="hollow, pale: not shown by these seeds")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    if not panels:
        axes[0].text(0.5, 0.5, "no pair of runs is finished", transform=axes[0].transAxes, ha="center")
    save_png(figure, path, DPI)


def _draw_path(axis: Axes, found: Waterfall) -> None:
    levels = [100 * level for level in found.levels]
    last = len(levels)
    steps = [bar.path for bar in found.bars if bar.path is not None]
    ends = [level for level, step in zip(levels[1:], steps, strict=True) for level in _reach(level, step)]
    low, high = min([*levels, *ends]), max([*levels, *ends])
    margin = max(high - low, 0.5)
    left, right = low - 0.12 * margin, high + 0.24 * margin
    axis.set_xlim(left, right)
    for row, level in ((0, levels[0]), (last, levels[-1])):
        axis.barh(row, level - left, left=left, height=0.6, color=ENDS)
        axis.text(level + 0.015 * margin, row, f"{level:.2f}", va="center", fontsize=9, weight="bold")
    for row, (step, before, after) in enumerate(zip(steps, levels, levels[1:], strict=False), start=1):
        color = EVEN if step.same else RISE if after >= before else FALL
        axis.barh(
            row, after - before, left=before, height=0.6, color=color, alpha=1.0 if step.is_shown else 0.45, zorder=2
        )
        axis.plot([before, before], [row - 1 + 0.3, row - 0.3], color="#7f8c8d", linewidth=0.8)
        reach = _reach(after, step)
        if step.interval is not None and not step.same:
            axis.plot(reach, [row, row], color="#222222", linewidth=1.3, zorder=3)
        text = "same run" if step.same else points((after - before) / 100)
        axis.text(max(*reach, before) + 0.015 * margin, row, text, va="center", fontsize=9)
    axis.plot([levels[-1], levels[-1]], [last - 1 + 0.3, last - 0.3], color="#7f8c8d", linewidth=0.8)
    axis.text(
        left + 0.02 * margin, last + 1, "the steps of the path leave none", va="center", fontsize=8, color="#555555"
    )
    seeds = len(steps[0].seeds)
    axis.set_xlabel("mIoU in percent (the axis does not begin at 0)")
    axis.set_title(f"path from FROM to TO, {seeds} {'seed' if seeds == 1 else 'seeds'}", fontsize=11)


def _reach(level: float, step: Effect) -> tuple[float, float]:
    if step.interval is None or step.mean is None:
        return level, level
    return level + 100 * (step.interval.low - step.mean), level + 100 * (step.interval.high - step.mean)


def _draw_single(axis: Axes, found: Waterfall) -> None:
    axis.axvline(0, color="#555555", linewidth=1.0)
    count = len(found.bars)
    views = (
        ("added to FROM", ADDED, "o", -0.14, [bar.added for bar in found.bars], found.remainder_added),
        ("removed from TO", REMOVED, "s", 0.14, [bar.removed for bar in found.bars], found.remainder_removed),
    )
    for label, color, marker, shift, effects, remainder in views:
        placed = [(row, effect) for row, effect in enumerate(effects, start=1) if effect is not None]
        if not placed:
            continue
        _points(axis, placed, color, marker, shift, label)
        if remainder is not None:
            _points(axis, [(count + 2, remainder)], color, marker, shift, None)
    _points(axis, [(count + 1, found.total)], ENDS, "D", 0.0, "all together")
    axis.set_xlabel("effect of TO's component, points of mIoU (95 % intervals over seeds)")
    axis.set_title("each component alone", fontsize=11)


def _points(
    axis: Axes, placed: Sequence[tuple[int, Effect]], color: str, marker: str, shift: float, label: str | None
) -> None:
    for row, effect in placed:
        if effect.mean is None:
            continue
        face = color if effect.is_shown else "white"
        if effect.interval is not None and not effect.same:
            ends = [100 * effect.interval.low, 100 * effect.interval.high]
            axis.plot(ends, [row + shift] * 2, color=color, linewidth=1.4)
        axis.plot(100 * effect.mean, row + shift, marker, color=color, markerfacecolor=face, markersize=6)
    if label is not None:
        axis.plot([], [], marker, color=color, label=label, linestyle="")
