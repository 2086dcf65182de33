"""Charts as inline SVG. Their colours are the page's CSS variables, so they follow its light or dark scheme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 10, 36
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


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from `low` to `high`, about that many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A tick's text: 37200 -> 37.2k, 0.01 -> 0.01."""
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def line_chart(series: Sequence[Series], x_label: str, y_from_zero: bool = True, y_top: float | None = None) -> Markup:
    """Lines over a common axis, with a legend; an empty string where no series has a point.

    Args:
        series: up to four lines that can be told apart.
        x_label: below the axis.
        y_from_zero: the axis begins at 0.
        y_top: where it ends; None fits the lines. A band may leave the chart: one step's loss would flatten the rest.
    """
    drawn = [line for line in series if len(line.x)]
    if not drawn:
        return Markup("")
    x_low, x_high = min(line.x.min() for line in drawn), max(line.x.max() for line in drawn)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    low = min(line.y.min() for line in drawn)
    high = max(line.y.max() for line in drawn) if y_top is None else y_top
    low = min(0.0, low) if y_from_zero else low
    high = high + (high - low) * 0.04 if high > low else low + 1
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * plot_w, 1)

    def at_y(y: float) -> float:
        return round(TOP + (1 - (min(max(y, low), high) - low) / (high - low)) * plot_h, 1)

    parts = [Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, f"{', '.join(line.name for line in drawn)} over {x_label}"
    )]  # fmt: skip
    for tick in ticks(low, high):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(LEFT, WIDTH - RIGHT, y=at_y(tick))
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT - 6, at_y(tick) + 3.5, short(tick)
            )
        )
    whole_ticks = [t for t in ticks(x_low, x_high, 6) if float(t).is_integer()] or ticks(x_low, x_high, 6)
    for tick in whole_ticks:
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                at_x(tick), HEIGHT - BOTTOM + 15, short(tick)
            )
        )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            LEFT + plot_w / 2, HEIGHT - 4, x_label
        )
    )
    for number, line in enumerate(drawn):
        parts.append(_line(line, number % 4, at_x, at_y))
    keys = Markup("").join(
        Markup('<span class="key"><svg viewBox="0 0 24 8"><path class="line s{}" d="M1 4H23"/></svg>{}</span>').format(
            number % 4, line.name
        )
        for number, line in enumerate(drawn)
    )
    return Markup("").join([*parts, Markup("</svg>"), Markup('<p class="keys">{}</p>').format(keys)])


def _line(line: Series, style: int, at_x: object, at_y: object) -> Markup:
    points = [f"{at_x(x)} {at_y(y)}" for x, y in zip(line.x, line.y, strict=True)]
    parts = []
    if line.band is not None:
        lowest, highest = ([f"{at_x(x)} {at_y(y)}" for x, y in zip(line.x, edge, strict=True)] for edge in line.band)
        parts.append(Markup('<path class="band s{}" d="M{}Z"/>').format(style, "L".join([*lowest, *highest[::-1]])))
    if len(points) > 1:
        parts.append(Markup('<path class="line s{}" d="M{}"/>').format(style, "L".join(points)))
    if line.markers or len(points) == 1:
        for x, y in zip(line.x, line.y, strict=True):
            parts.append(
                Markup('<circle class="dot s{}" cx="{}" cy="{}" r="3"><title>{}, {}: {}</title></circle>').format(
                    style, at_x(x), at_y(y), line.name, short(float(x)), f"{y:.4g}"
                )
            )
    return Markup("").join(parts)


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
    totals = matrix.sum(axis=1)
    side = size * CELL
    parts = [
        Markup('<svg class="heat" viewBox="0 0 {w} {h}" style="min-width:{m}px" role="img" aria-label="{}">').format(
            "confusion matrix, rows truth, columns prediction",
            w=NAMES_WIDTH + side + OVERHANG,
            h=NAMES_HEIGHT + side + 2,
            m=min((NAMES_WIDTH + side) * 8 // 10, 2000),
        )
    ]
    for index, name in enumerate(names):
        middle = index * CELL + CELL / 2
        parts.append(
            Markup('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>').format(
                NAMES_WIDTH - 7, NAMES_HEIGHT + middle + 4, _cut(name)
            )
        )
        parts.append(
            Markup('<text class="name" transform="translate({} {}) rotate(-55)">{}</text>').format(
                NAMES_WIDTH + middle + 2, NAMES_HEIGHT - 7, _cut(name)
            )
        )
    for row, column in np.argwhere(matrix > 0):
        parts.append(_heat_cell(matrix, totals, names, int(row), int(column)))
    lines = "".join(
        f"M{NAMES_WIDTH} {NAMES_HEIGHT + at}h{side}M{NAMES_WIDTH + at} {NAMES_HEIGHT}v{side}"
        for at in range(0, side + 1, CELL)
    )
    parts.append(Markup('<path class="cells" d="{}"/></svg>').format(lines))
    return Markup("").join(parts)


def _cut(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _heat_cell(matrix: np.ndarray, totals: np.ndarray, names: Sequence[str], row: int, column: int) -> Markup:
    count = int(matrix[row, column])
    share = count / int(totals[row])
    x, y = NAMES_WIDTH + column * CELL, NAMES_HEIGHT + row * CELL
    kind = "right" if row == column else "wrong"
    title = f"{names[row]} predicted as {names[column]}: {share:.2%} ({count:,} pixels)"
    cell = Markup(
        '<g><title>{}</title><rect class="{}" x="{}" y="{}" width="{s}" height="{s}" fill-opacity="{}"/>{}</g>'
    )
    text = Markup("")
    if share >= 0.0095:
        text = Markup('<text class="value{}" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            " strong" if share > 0.45 else "", x + CELL / 2, y + CELL / 2 + 4, f"{share * 100:.0f}"
        )
    # The root makes the small shares visible: a class usually loses its pixels to several others.
    return cell.format(title, kind, x, y, f"{max(share**0.6, 0.03):.2f}", text, s=CELL)
