"""Terminal table of a lab. Points are hundredths of mIoU."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_cityscapes.lab.analysis.analysis import Analysis, ArmComparison
from catalyst_cityscapes.lab.analysis.verdict import interval_text, points, share
from catalyst_cityscapes.lab.statistics import Interval
from catalyst_cityscapes.report.terminal import open_console


def print_analysis(analysis: Analysis, console: Console | None = None) -> None:
    """Prints a line per arm, and under the table a verdict for each, its notes, and the classes that differ.

    Args:
        analysis: of the lab.
        console: where to print; None is the terminal.
    """
    console = open_console(console)
    runs = sum(len(score.runs) for score in analysis.scores)
    table = Table(
        title=f"{len(analysis.scores)} arms, {len(analysis.seeds)} seeds, {analysis.images} images; points",
        caption=f"protocol {escape(analysis.protocol)}; n pairs; 95 % intervals; p of sign flips",
    )
    table.add_column("arm", overflow="fold")
    for name in ("n", "mIoU", "diff", "over seeds", "over images", "p", "can show"):
        table.add_column(name, justify="right", no_wrap=name != "can show")
    base = analysis.scores[0]
    table.add_row(escape(base.arm), f"{len(base.runs)}", share(base.mean), "", "", "", "", "")
    for score, entry in zip(analysis.scores[1:], analysis.comparisons, strict=True):
        table.add_row(
            escape(entry.arm),
            str(len(entry.seeds)),
            share(score.mean),
            points(entry.mean),
            _cell(entry.seed_interval),
            _cell(entry.image_interval),
            "-" if entry.p_sign_flip is None else _p(entry.p_sign_flip),
            share(entry.smallest_effect),
        )
    console.print(table)
    if analysis.missing:
        missing = ", ".join(f"{arm} seed {seed}" for arm, seed in analysis.missing[:6])
        more = f" and {len(analysis.missing) - 6} more" if len(analysis.missing) > 6 else ""
        _line(console, f"not finished ({runs} of {runs + len(analysis.missing)} runs are): {missing}{more}")
    for entry in analysis.comparisons:
        _line(console, f"{entry.arm}: {entry.verdict}")
        for note in entry.notes:
            _line(console, f"  {note}")
        for line in class_lines(entry):
            _line(console, f"  {line}")


def class_lines(entry: ArmComparison) -> list[str]:
    """The classes that differ after Holm's correction, the largest difference first; none without such."""
    pairs = len(entry.seeds)
    found = [row for row in entry.classes if row.p_holm is not None and row.p_holm <= 0.05 and row.mean is not None]
    found.sort(key=lambda row: -abs(row.mean or 0.0))
    return [
        f"{row.name} {points(row.mean or 0.0)} ({interval_text(row.interval)}): p {_p(row.p_holm or 0.0)} "
        f"after Holm's correction, by a t-test on {pairs} seeds"
        for row in found
    ]


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _cell(interval: Interval | None) -> str:
    return "-" if interval is None else f"{points(interval.low)}..{points(interval.high)}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
