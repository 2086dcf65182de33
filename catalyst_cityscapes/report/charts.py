"""Learning curves and the confusion matrix as SVG for inside the report's page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from catalyst_cityscapes.report.figure import INK, PALE, PAPER, RIGHT, RULE, SERIES, WRONG, fitted, inline_svg

UNIT = 1 / 72
"""Inches of a unit of the SVG."""
STYLES = ("-", (0, (7, 3)), (0, (2, 3)), (0, (8, 3, 2, 3)))
ROUND = (1, 2, 2.5, 5, 10)
"""Ticks are these times a power of ten."""
MOST_POINTS = 300


@dataclass(frozen=True)
class Series:
    """A line: `x` and `y` of one length; `band` is (lowest, highest) of what each point sums up."""

    name: str
    x: np.ndarray
    y: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None = None
    markers: bool = False


def binned(name: str, x: Sequence[float], y: Sequence[float]) -> Series:
    """A series of at most 300 points: means of equally many neighbours, with their lowest and highest values as a band.

    Values that are not finite are left out.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    finite = np.isfinite(ys) & np.isfinite(xs)
    xs, ys = xs[finite], ys[finite]
    if len(xs) <= MOST_POINTS:
        return Series(name, xs, ys)
    starts = np.linspace(0, len(xs), MOST_POINTS, endpoint=False).astype(int)
    counts = np.diff([*starts, len(xs)])
    mean_x, mean_y = (np.add.reduceat(values, starts) / counts for values in (xs, ys))
    return Series(name, mean_x, mean_y, (np.minimum.reduceat(ys, starts), np.maximum.reduceat(ys, starts)))


def short(value: float, _: int | None = None) -> str:
    """A tick's text: 37200 -> 37.2k, 0.01 -> 0.01. Its number among the ticks says nothing."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def line_chart(series: Sequence[Series], x_label: str) -> Markup:
    """Lines over a common axis from 0, with a legend; an empty string where no series has a point.

    A band may reach beyond the chart, where it is cut: one step's loss would flatten the rest.

    Args:
        series: up to four lines that can be told apart.
        x_label: below the axis.
    """
    drawn = [line for line in series if len(line.x)]
    if not drawn:
        return Markup("")
    figure = Figure(figsize=(520 * UNIT, 270 * UNIT))
    axes = figure.add_axes((0.115, 0.14, 0.865, 0.76))
    low = min(0.0, *(line.y.min() for line in drawn))
    high = max(line.y.max() for line in drawn)
    axes.set_ylim(low, high + (high - low) * 0.04 if high > low else low + 1)
    left, right = min(line.x.min() for line in drawn), max(line.x.max() for line in drawn)
    axes.set_xlim((left, right) if left < right else (left - 0.5, right + 0.5))
    for number, line in enumerate(drawn):
        _line(axes, line, SERIES[number % 4], STYLES[number % 4])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(short)
    axes.tick_params(length=0, labelsize=11, labelcolor=PALE)
    axes.set_xlabel(x_label, fontsize=11, color=PALE)
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=RULE)
    axes.set_axisbelow(True)
    figure.legend(loc="upper left", ncols=4, fontsize=11, labelcolor=PALE, frameon=False, borderaxespad=0)
    return inline_svg(figure, "chart", f"{', '.join(line.name for line in drawn)} over {x_label}")


def _line(axes: Axes, line: Series, color: str, style: str | tuple[int, tuple[int, ...]]) -> None:
    low, high = axes.get_ylim()
    if line.band is not None:
        lowest, highest = (np.clip(edge, low, high) for edge in line.band)
        axes.fill_between(line.x, lowest, highest, color=color, alpha=0.16, linewidth=0)
    marker = "o" if line.markers or len(line.x) == 1 else None
    # A legend leaves out names that begin with an underscore.
    axes.plot(line.x, line.y, color=color, ls=style, lw=1.8, marker=marker, ms=5, label=f" {fitted(line.name)}")


CELL, NAMES_WIDTH, NAMES_HEIGHT = 30, 104, 92
OVERHANG = 58
"""Right of the matrix, for the slanted names of the last columns."""


def heat_map(matrix: np.ndarray, names: Sequence[str]) -> Markup:
    """A confusion matrix in shares of each true class: green on the diagonal, red beside it, numbers from 1 %.

    Args:
        matrix: int64 [K, K], rows truth, columns prediction.
        names: of the K classes.
    """
    size = len(names)
    side = size * CELL
    width, height = NAMES_WIDTH + side + OVERHANG, NAMES_HEIGHT + side + 2
    figure = Figure(figsize=(width * UNIT, height * UNIT))
    axes = figure.add_axes((NAMES_WIDTH / width, 2 / height, side / width, side / height))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    colors = np.where(np.eye(size, dtype=bool)[..., None], to_rgba(RIGHT), to_rgba(WRONG))
    # The root makes the small shares visible: a class usually loses its pixels to several others.
    colors[..., 3] = np.where(matrix > 0, np.maximum(shares**0.6, 0.03), 0)
    axes.pcolormesh(colors, edgecolor=RULE, linewidth=0.6)
    axes.set_ylim(size, 0)
    for row, column in np.argwhere(shares >= 0.0095):
        strong = shares[row, column] > 0.45
        look = {"color": PAPER if strong else INK, "weight": "bold" if strong else "normal"}
        text = f"{shares[row, column] * 100:.0f}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center_baseline", fontsize=11, **look)
    places, texts = np.arange(size) + 0.5, [fitted(name, 16) for name in names]
    axes.set_yticks(places, texts)
    axes.set_xticks(places, texts, rotation=55, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=12, labelcolor=INK)
    axes.spines[:].set_visible(False)
    description = "confusion matrix, rows truth, columns prediction"
    return inline_svg(figure, "heat", description, min_width=min((NAMES_WIDTH + side) * 8 // 10, 2000))
