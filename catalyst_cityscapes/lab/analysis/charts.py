"""Pictures of a lab: every run, the differences with their intervals, the classes. Points are hundredths of mIoU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from catalyst_cityscapes.lab.analysis.analysis import Analysis, ArmComparison, ClassDifference
from catalyst_cityscapes.lab.analysis.verdict import LEVEL, interval_text, points
from catalyst_cityscapes.report.figure import INK, PALE, SERIES, bare, fitted, save_png

BASE, BETTER, WORSE, PAIR, IMAGES = PALE, SERIES[2], "#c2410c", "#b8c0ca", SERIES[0]
MOST_CLASSES = 40
"""More classes than this are not drawn: those with the largest differences are."""
MOST_PANELS = 4
"""More arms than this make a table of colours instead of intervals per class."""


def runs_figure(analysis: Analysis) -> Figure:
    """Every run's mIoU: base above, arm below, the two runs of a seed joined; small bars are the means."""
    compared = [entry for entry in analysis.comparisons if entry.seeds]
    rows = max(len(compared), 1)
    figure = Figure(figsize=(8.2, 0.95 * rows + 0.9))
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    base = {run.seed: run.miou for run in analysis.scores[0].runs}
    arms = {score.arm: {run.seed: run.miou for run in score.runs} for score in analysis.scores}
    if not compared:
        _runs_row(axes[0, 0], base, {}, analysis.base, "")
    for axis, entry in zip(axes[:, 0], compared, strict=False):
        _runs_row(axis, base, arms[entry.arm], analysis.base, entry.arm)
    axes[-1, 0].set_xlabel("mIoU x 100", fontsize=9)
    figure.tight_layout(h_pad=0.3)
    return figure


def _runs_row(axis: Axes, base: dict[int, float], arm: dict[int, float], base_name: str, name: str) -> None:
    bare(axis)
    for seed in base.keys() & arm.keys():
        axis.plot([100 * base[seed], 100 * arm[seed]], [1, 0], color=PAIR, linewidth=1.2, zorder=1)
    for height, runs, color in ((1, base, BASE), (0, arm, IMAGES)):
        values = 100 * np.array(list(runs.values()))
        axis.scatter(values, np.full(len(values), height), s=34, color=color, alpha=0.85, linewidth=0, zorder=2)
        if len(values) > 1:
            axis.vlines(values.mean(), height - 0.28, height + 0.28, color=INK, linewidth=1.6, zorder=3)
    axis.set_yticks([1, 0] if name else [1], [fitted(base_name), fitted(name)] if name else [fitted(base_name)])
    axis.set_ylim(-0.5, 1.5)


def forest_figure(analysis: Analysis) -> Figure:
    """Mean difference to the base of every arm, its interval over seeds (thick) and over images (thin), its pairs."""
    entries = analysis.comparisons
    figure = Figure(figsize=(9.2, 0.62 * max(len(entries), 1) + 1.25))
    axis = figure.subplots()
    bare(axis)
    axis.axvline(0, color=INK, linewidth=1)
    for height, entry in zip(range(len(entries) - 1, -1, -1), entries, strict=True):
        if entry.mean is None:
            axis.text(0, height, "  no pair is finished", fontsize=9, color=BASE, va="center")
            continue
        _forest_row(axis, height, entry)
        text = points(entry.mean) + (f"  ({interval_text(entry.seed_interval)})" if entry.seed_interval else "")
        text = "identical" if len(entry.identical) == len(entry.seeds) else text
        axis.text(1.02, height, text, transform=axis.get_yaxis_transform(), fontsize=9, va="center")
    labels = [f"{fitted(entry.arm)}  n={len(entry.seeds)}" for entry in entries]
    axis.set_yticks(range(len(entries) - 1, -1, -1), labels)
    axis.set_ylim(-0.6, len(entries) - 0.4)
    _room_for_pairs(axis, entries)
    axis.set_xlabel(
        f"points of mIoU against {fitted(analysis.base)} (right: mean and 95 % interval over seeds)", fontsize=9
    )
    handles = [
        Line2D([], [], color=BASE, linewidth=4, label="over seeds, on these images (coloured: claimed)"),
        Line2D([], [], color=IMAGES, linewidth=1.4, label="over images, for these networks"),
        Line2D([], [], color=PAIR, marker="o", markersize=4, linewidth=0, label="a pair of runs"),
    ]
    figure.legend(handles=handles, loc="upper left", ncol=3, fontsize=8.5, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.32 / figure.get_figheight()))
    return figure


def _forest_row(axis: Axes, height: int, entry: ArmComparison) -> None:
    mean = entry.mean or 0.0
    color = (BETTER if mean > 0 else WORSE) if entry.shown else BASE
    pairs = 100 * np.array(entry.differences)
    axis.scatter(pairs, np.full(len(pairs), height + 0.26), s=13, color=PAIR, linewidth=0, zorder=2)
    if entry.seed_interval is not None:
        ends = (100 * entry.seed_interval.low, 100 * entry.seed_interval.high)
        axis.plot(ends, [height, height], color=color, linewidth=4, solid_capstyle="butt", zorder=3)
    if entry.image_interval is not None:
        ends = (100 * entry.image_interval.low, 100 * entry.image_interval.high)
        axis.plot(ends, [height - 0.24, height - 0.24], color=IMAGES, linewidth=1.4, zorder=3)
    axis.scatter([100 * mean], [height], s=42, color=color, edgecolor="white", linewidth=1, zorder=4)


def _room_for_pairs(axis: Axes, entries: Sequence[ArmComparison]) -> None:
    """Cuts the axis where an interval of few seeds would press all else into a line."""
    inner = [0.0]
    for entry in entries:
        inner += entry.differences
        for interval in (entry.image_interval, entry.seed_interval if len(entry.seeds) > 4 else None):
            inner += [] if interval is None else [interval.low, interval.high]
    reach = 3 * max(max(inner) - min(inner), 1e-4)
    low, high = axis.get_xlim()
    axis.set_xlim(max(low, 100 * (min(inner) - reach)), min(high, 100 * (max(inner) + reach)))


def classes_figure(analysis: Analysis) -> Figure:
    """Difference in IoU of each class: dots with intervals for few arms, colours and numbers for more.

    Full dots and stars mark classes that differ after Holm's correction over the classes of the arm.
    """
    entries = [entry for entry in analysis.comparisons if entry.seeds]
    columns = [entry.classes for entry in entries]
    shown = _largest(columns)
    if 0 < len(entries) <= MOST_PANELS:
        return _class_intervals(entries, shown)
    return _class_colors(entries, shown)


def _largest(columns: Sequence[Sequence[ClassDifference]]) -> list[int]:
    """The classes to draw, in their own order."""
    count = len(columns[0]) if columns else 0
    if count <= MOST_CLASSES:
        return list(range(count))
    size = [max(abs(column[i].mean or 0.0) for column in columns) for i in range(count)]
    return sorted(np.argsort(size)[::-1][:MOST_CLASSES].tolist())


def _class_intervals(entries: Sequence[ArmComparison], shown: Sequence[int]) -> Figure:
    width = 2.1 + 2.6 * len(entries) if len(entries) > 1 else 7.2
    figure = Figure(figsize=(width, 0.27 * len(shown) + 1.1))
    axes = figure.subplots(1, len(entries), sharex=True, sharey=True, squeeze=False)
    heights = range(len(shown) - 1, -1, -1)
    for axis, entry in zip(axes[0], entries, strict=True):
        bare(axis)
        axis.axvline(0, color=INK, linewidth=1)
        for height, index in zip(heights, shown, strict=True):
            _class_row(axis, height, entry.classes[index])
        axis.set_title(fitted(entry.arm), fontsize=10)
        axis.set_xlabel("points of IoU", fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_yticks(list(heights), [fitted(entry.classes[index].name, 18) for index in shown])
        axis.set_ylim(-0.7, len(shown) - 0.3)
    means = [0.0, *(100 * (entry.classes[index].mean or 0.0) for entry in entries for index in shown)]
    spread = max(max(means) - min(means), 0.1)
    low, high = axes[0, 0].get_xlim()
    axes[0, 0].set_xlim(max(low, min(means) - spread), min(high, max(means) + spread))
    figure.tight_layout()
    return figure


def _class_row(axis: Axes, height: int, row: ClassDifference) -> None:
    if row.absent or row.mean is None:
        axis.text(0, height, "  not in the truth" if row.absent else "", fontsize=8, color=BASE, va="center")
        return
    held = row.p_holm is not None and row.p_holm <= LEVEL
    color = (BETTER if row.mean > 0 else WORSE) if held else BASE
    if row.interval is not None:
        axis.plot([100 * row.interval.low, 100 * row.interval.high], [height, height], color=color, linewidth=1.6)
    axis.scatter(
        [100 * row.mean], [height], s=26, facecolor=color if held else "white", edgecolor=color, linewidth=1.3, zorder=3
    )


def _class_colors(entries: Sequence[ArmComparison], shown: Sequence[int]) -> Figure:
    rows, columns = max(len(shown), 1), max(len(entries), 1)
    values = np.zeros((rows, columns))
    for column, entry in enumerate(entries):
        values[: len(shown), column] = [100 * (entry.classes[i].mean or 0.0) for i in shown]
    limit = max(float(np.abs(values).max()), 0.1)
    figure = Figure(figsize=(1.9 + 0.72 * columns, 0.26 * rows + 2.0))
    axis = figure.subplots()
    axis.imshow(values, cmap="RdYlGn", vmin=-limit, vmax=limit, aspect="auto", alpha=0.75)
    for column, entry in enumerate(entries):
        for row, index in enumerate(shown):
            found = entry.classes[index]
            star = "*" if found.p_holm is not None and found.p_holm <= LEVEL else ""
            text = "absent" if found.absent else f"{values[row, column]:+.1f}{star}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, fontweight="bold" if star else "normal")
    axis.set_xticks(range(columns), [fitted(entry.arm) for entry in entries], rotation=40, ha="left", fontsize=8.5)
    axis.xaxis.tick_top()
    names = [fitted(entries[0].classes[i].name, 18) for i in shown] if entries else []
    axis.set_yticks(range(len(names)), names, fontsize=8.5)
    axis.tick_params(length=0)
    figure.tight_layout()
    return figure


def write_charts(analysis: Analysis, folder: Path) -> dict[str, Path]:
    """Writes `runs.png`, `differences.png` and `classes.png`; returns name -> file."""
    figures = {"runs": runs_figure, "differences": forest_figure, "classes": classes_figure}
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, draw in figures.items():
        save_png(draw(analysis), paths[name], dpi=130)
    return paths
