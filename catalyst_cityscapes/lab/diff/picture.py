"""Two recipes as one picture: what differs, rates, momentum, decay, what the network sees, resolutions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catalyst_cityscapes.lab.diff.comparison import DIFFERS, Comparison
from catalyst_cityscapes.lab.diff.distance import over_progress
from catalyst_cityscapes.lab.diff.input_facts import drawn, sizes_at_test, train_scale
from catalyst_cityscapes.lab.diff.subject import Subject
from catalyst_cityscapes.lab.diff.table import merged
from catalyst_cityscapes.lab.diff.training_facts import KIND_NAMES
from catalyst_cityscapes.lab.measure.optimisation import BACKBONE, PARTS
from catalyst_cityscapes.report.figure import fitted, save_png

COLOURS = ("#0072b2", "#d55e00")
STYLES = ("-", "--")
FARTHEST = 14
BINS = 24
LONGEST_NAME = 60


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the picture as a PNG file.

    Args:
        comparison: of two recipes.
        path: where; it appears complete or not at all.
    """
    figure = Figure(figsize=(17, 12.5), layout="constrained")
    names = [
        f"{letter}: {fitted(side.name, LONGEST_NAME)}" for letter, side in zip("AB", _sides(comparison), strict=True)
    ]
    figure.suptitle("\n".join([*names, comparison.summary]), fontsize=12)
    grid = figure.add_gridspec(3, 4)
    _farthest(figure.add_subplot(grid[0, :2]), comparison)
    _rates(figure.add_subplot(grid[0, 2]), comparison)
    _momentum(figure.add_subplot(grid[0, 3]), comparison)
    _decay(figure.add_subplot(grid[1, 0]), comparison)
    histograms: list[tuple[str, Callable[[Subject], np.ndarray], bool]] = [
        ("scale (training / native pixels)", train_scale, True),
        ("rotation (degrees)", lambda side: drawn(side, "rotation"), False),
        ("visible share of the input", lambda side: drawn(side, "visible"), False),
        ("visible share of the image", lambda side: drawn(side, "source"), False),
        ("position down (0 top, 1 bottom)", lambda side: drawn(side, "top"), False),
    ]
    places = (grid[1, 1], grid[1, 2], grid[1, 3], grid[2, 0], grid[2, 1])
    for place, (title, values, logarithmic) in zip(places, histograms, strict=True):
        _histogram(figure.add_subplot(place), comparison, title, values, logarithmic)
    ignored = figure.add_subplot(grid[2, 2])
    if all(side.profile.samples is not None for side in _sides(comparison)):
        _histogram(ignored, comparison, "ignored pixels of a sample (share)", _ignored, False)
        _input(figure.add_subplot(grid[2, 3]), comparison)
    else:
        _histogram(ignored, comparison, "pixel-level contrast kept", lambda side: side.detail, False)
        _sizes(figure.add_subplot(grid[2, 3]), comparison)
    save_png(figure, path, dpi=100)


def _sides(comparison: Comparison) -> tuple[Subject, Subject]:
    return comparison.a, comparison.b


def _ignored(side: Subject) -> np.ndarray:
    samples = side.profile.samples
    return np.empty(0) if samples is None else samples.ignored


def _farthest(axes: Axes, comparison: Comparison) -> None:
    lines = merged(comparison.having(DIFFERS))
    shown = lines[:FARTHEST]
    axes.set_title(f"farthest apart ({len(shown)} of {len(lines)} lines of the table)", fontsize=10)
    if not shown:
        axes.text(0.5, 0.5, "no effect differs", ha="center", va="center")
        axes.set_axis_off()
        return
    names = []
    for members in shown:
        parts = [row.member for row in members if row.member]
        names.append(f"{members[0].family}: {', '.join(parts)}" if parts else members[0].family)
    distances = [members[0].gap.distance for members in shown]
    axes.barh(range(len(shown)), distances, color="#777777")
    axes.set_yticks(range(len(shown)), [fitted(name, 46) for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("distance")


def _rates(axes: Axes, comparison: Comparison) -> None:
    axes.set_title("learning rate", fontsize=10)
    for letter, side, colour in zip("AB", _sides(comparison), COLOURS, strict=True):
        for part, style in zip(PARTS, STYLES, strict=True):
            curve = side.profile.optimisation.lr(part)
            if len(curve) and (curve > 0).any():
                values = over_progress(curve)
                x = (np.arange(len(values)) + 0.5) / len(values)
                look = {"lw": 1.6} if part == BACKBONE else {"lw": 3.5, "alpha": 0.6}
                axes.plot(
                    x, np.where(values > 0, values, np.nan), style, color=colour, label=f"{letter} {part}", **look
                )
    axes.set_yscale("log")
    axes.set_xlabel("progress of the training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _momentum(axes: Axes, comparison: Comparison) -> None:
    axes.set_title("momentum", fontsize=10)
    for letter, side, colour, width in zip("AB", _sides(comparison), COLOURS, (3.5, 1.5), strict=True):
        for part, style in zip(PARTS, STYLES, strict=True):
            curve = side.profile.optimisation.momentum(part)
            if len(curve):
                values = over_progress(curve)
                x = (np.arange(len(values)) + 0.5) / len(values)
                axes.plot(x, values, style, color=colour, label=f"{letter} {part}", lw=width, alpha=0.8)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("progress of the training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")


def _decay(axes: Axes, comparison: Comparison) -> None:
    axes.set_title("weight decay over the training\n(logarithm of the shrinking)", fontsize=10)
    decays = [side.profile.optimisation.decay for side in _sides(comparison)]
    keys = [(part, kind) for part in PARTS for kind in KIND_NAMES if any((part, kind) in decay for decay in decays)]
    for index, (letter, decay, colour) in enumerate(zip("AB", decays, COLOURS, strict=True)):
        places = np.arange(len(keys)) + (index - 0.5) * 0.4
        axes.barh(places, [decay.get(key, 0.0) for key in keys], height=0.4, color=colour, label=letter)
    axes.set_yticks(range(len(keys)), [f"{part} {KIND_NAMES[kind]}" for part, kind in keys], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=0.001)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)


def _histogram(
    axes: Axes, comparison: Comparison, title: str, values: Callable[[Subject], np.ndarray], logarithmic: bool
) -> None:
    axes.set_title(title, fontsize=10)
    found = [series[np.isfinite(series)] for series in map(values, _sides(comparison))]
    together = np.concatenate(found)
    if not len(together):
        axes.text(0.5, 0.5, "nothing visible", ha="center", va="center", transform=axes.transAxes)
        return
    if logarithmic:
        together = np.concatenate([together, *map(sizes_at_test, _sides(comparison))])
    edges = _edges(together, logarithmic)
    for letter, series, colour, hatch in zip("AB", found, COLOURS, (None, "//"), strict=True):
        if not len(series):
            continue
        weights = np.full(len(series), 1 / len(series))
        style: dict[str, Any] = {"alpha": 0.45, "edgecolor": colour, "facecolor": colour, "hatch": hatch}
        axes.hist(series, edges, weights=weights, label=letter, histtype="stepfilled", **style)
    if logarithmic:
        axes.set_xscale("log")
        ticks = [tick for tick in (0.1, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 3, 4) if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        for letter, side, colour in zip("AB", _sides(comparison), COLOURS, strict=True):
            for index, size in enumerate(sizes_at_test(side)):
                label = f"{letter} test" if index == 0 else None
                axes.axvline(size, color=colour, lw=3 if letter == "A" else 1.5, ls="-" if letter == "A" else ":")
                axes.plot([], [], color=colour, ls="-" if letter == "A" else ":", label=label)
    axes.set_ylabel("share of the draws", fontsize=8)
    axes.legend(fontsize=8)


def _edges(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        low, high = low / 1.05, high * 1.05
        return np.geomspace(low, high, BINS + 1)
    margin = max((high - low) * 0.03, 0.01)
    return np.linspace(low - margin, high + margin, BINS + 1)


def _input(axes: Axes, comparison: Comparison) -> None:
    axes.set_title("network input: mean and std", fontsize=10)
    for index, (letter, side, colour) in enumerate(zip("AB", _sides(comparison), COLOURS, strict=True)):
        samples = side.profile.samples
        if samples is not None:
            places = np.arange(len(samples.mean)) + (index - 0.5) * 0.25
            axes.errorbar(places, samples.mean, yerr=samples.std, fmt="o", color=colour, label=letter, capsize=4, lw=2)
    axes.axhline(0, color="#999999", lw=0.8)
    axes.set_xticks(range(3), ("channel 0", "channel 1", "channel 2"))
    axes.set_ylabel("after the normalisation", fontsize=8)
    axes.legend(fontsize=8)


def _sizes(axes: Axes, comparison: Comparison) -> None:
    axes.set_title("size of objects, test / training", fontsize=10)
    found = []
    for side in _sides(comparison):
        ratio = float(np.exp(np.log(sizes_at_test(side)).mean())) / train_scale(side)
        found.append(ratio[np.isfinite(ratio)])
    axes.boxplot(found, orientation="horizontal", tick_labels=("A", "B"), whis=(5, 95), showfliers=False)
    axes.axvline(1, color="#999999", lw=0.8)
    axes.set_xlabel("1 is tested as it was trained", fontsize=8)
