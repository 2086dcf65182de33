"""The terminal table of what `catalyst-dl bench` measured."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_cityscapes.bench.repeats import Row
from catalyst_cityscapes.report.terminal import open_console

SETTINGS = (
    *("size", "height", "width", "crop", "scales", "layers", "batch", "steps"),
    *("images", "samples", "classes", "png_kb", "turns", "threads"),
)
"""Columns that say how was measured and not what came out: where all rows agree, they stand under the table."""
BOUNDS = ("ratio_low", "ratio_high")


def print_rows(part: str, rows: Sequence[Row], console: Console | None = None) -> None:
    """Prints the rows of a part as a table.

    Args:
        part: what was measured, as in the result file's name.
        rows: in the order of their measurement; their columns may differ, and a value that a row lacks stays empty.
        console: where to print; None is the terminal.
    """
    open_console(console).print(rows_table(part, rows))


def rows_table(part: str, rows: Sequence[Row]) -> Table:
    """A line a row; an interval stands beside its ratio, and settings that all rows share are the caption."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    shared = [name for name in names if name in SETTINGS and len({row.get(name) for row in rows}) == 1]
    caption = ", ".join(f"{_spaced(name)} {rows[0][name]}" for name in shared)
    table = Table(title=escape(f"bench {part}"), caption=escape(caption) or None)
    columns = [name for name in names if name not in shared and name not in BOUNDS]
    for name in columns:
        is_text = any(isinstance(row.get(name), str) for row in rows)
        table.add_column(_spaced(name), justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row, name)) for name in columns))
    return table


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _cell(row: Row, name: str) -> str:
    text = _number(row.get(name))
    low, high = (row.get(bound) for bound in BOUNDS)
    return f"{text} ({_number(low)} to {_number(high)})" if name == "ratio" and low is not None else text


def _number(value: object) -> str:
    """Three digits are more than a busy machine repeats; the CSV file has all."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
