"""The comparison in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_cityscapes.lab.diff.comparison import DIFFERS, EQUAL, UNCLEAR, Comparison, Row
from catalyst_cityscapes.lab.diff.fact import READ
from catalyst_cityscapes.lab.diff.keys import ABSENT, KeyDifference
from catalyst_cityscapes.lab.plan.plan import shown
from catalyst_cityscapes.report.terminal import open_console
from semseg_ref.base.errors import printable


def print_comparison(comparison: Comparison, show_all: bool = False, console: Console | None = None) -> None:
    """Prints the effects that differ, farthest apart first, then keys without effect, effects without key, a summary.

    Args:
        comparison: of two recipes.
        show_all: equal effects, and those that the draws do not tell apart, as well.
        console: where to print; None is the terminal.
    """
    console = open_console(console)
    _print_rows(comparison, show_all, console)
    if not show_all:
        unclear = [row.name for row in comparison.having(UNCLEAR)]
        if unclear:
            console.print(escape(f"not told apart by the draws: {', '.join(unclear)}"), highlight=False)
    if comparison.idle_keys:
        console.print("keys that differ without a measured effect:", highlight=False)
        for key in comparison.idle_keys:
            unclear = " (effects not told apart by the draws)" if key in comparison.unclear_keys else ""
            console.print(_text(f"  {_key_line(key)}{unclear}"), highlight=False)
    if comparison.keyless:
        names = ", ".join(row.name for row in comparison.keyless)
        console.print(_text(f"effects that no differing key explains: {names}"), highlight=False)
    console.print(_text(comparison.summary), highlight=False)


def _text(text: str) -> str:
    return escape(printable(text))


def _key_line(key: KeyDifference) -> str:
    a, b = ("absent" if value is ABSENT else shown(value) for value in (key.a, key.b))
    return f"{key.name}: {a} | {b}"


def _print_rows(comparison: Comparison, show_all: bool, console: Console) -> None:
    rows = list(comparison.rows) if show_all else comparison.having(DIFFERS)
    if not rows:
        return
    table = Table(caption=_caption(comparison), caption_justify="left")
    table.add_column("effect", overflow="fold")
    table.add_column(f"A: {_text(comparison.a.name)}", overflow="fold")
    table.add_column(f"B: {_text(comparison.b.name)}", overflow="fold")
    table.add_column("apart", justify="right", no_wrap=True)
    table.add_column("chance", justify="right", no_wrap=True)
    if show_all:
        table.add_column("verdict", no_wrap=True)
    for lines in merged(rows):
        row = lines[0]
        members = ", ".join(line.member for line in lines if line.member)
        name = f"{row.family}: {members}" if members else row.family
        name += " (read)" if row.basis == READ else ""
        chance = "" if row.gap.chance is None else ("< 0.001" if row.gap.chance < 0.001 else f"{row.gap.chance:.2g}")
        apart = "< 0.01" if 0 < row.gap.distance < 0.005 else f"{row.gap.distance:.2f}"
        cells = [_text(name), _text(row.a), _text(row.b), apart, chance]
        style = {DIFFERS: None, UNCLEAR: "dim", EQUAL: "dim"}[row.verdict]
        table.add_row(*cells, *([row.verdict] if show_all else []), style=style)
    console.print(table)


def _caption(comparison: Comparison) -> str:
    exposure, samples = comparison.a.profile.exposure, comparison.a.profile.samples
    processes = f"{exposure.processes} process{'es' if exposure.processes > 1 else ''}"
    measured = f"{len(comparison.a.profile.draws)} draws"
    measured += f", {samples.count} samples" if samples else ", no samples"
    scale = "apart: 1 is a factor of ten, one standard deviation of the draws, or a yes for a no; chance: p value"
    return f"{processes}, {measured}; {scale}"


def merged(rows: list[Row]) -> list[list[Row]]:
    """Rows of one family with the same values together, in the place of the first."""
    lines: dict[tuple, list[Row]] = {}
    for row in rows:
        same = (row.family if row.member else row.name, row.a, row.b, row.verdict, f"{row.gap.distance:.2f}")
        lines.setdefault(same, []).append(row)
    return list(lines.values())
