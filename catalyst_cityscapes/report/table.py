"""Terminal tables of scores."""

from typing import Any

from rich.console import Console
from rich.table import Table

from catalyst_cityscapes.recipe.schema import Expected


def verdict(miou: float, expected: Expected) -> str:
    """How a score compares to a published one: `within` its tolerance, or how far `below` or `above`."""
    gap = miou - expected.miou
    if abs(gap) <= expected.tolerance:
        return f"within {expected.tolerance:.4f} of the published {expected.miou:.4f} ({gap:+.4f}; {expected.source})"
    side = "above" if gap > 0 else "below"
    return f"{abs(gap):.4f} {side} the published {expected.miou:.4f} ({expected.source})"


def print_score(score: dict[str, Any], expected: Expected | None = None, console: Console | None = None) -> None:
    """Prints a score file's content: a line per class, the means, the protocol, the published number if any.

    Args:
        score: content of a `score.json`.
        expected: published result of the same recipe and protocol.
        console: where to print; None is the terminal.
    """
    console = console or Console(width=None)
    protocol = score["protocol"]
    title = f"{score['experiment']}, epoch {score['epoch']}, {score['images']} images"
    table = Table(title=title, caption=f"protocol {protocol['name'] or ''} {protocol['hash']}", show_footer=True)
    table.add_column("class", footer="mean")
    table.add_column("IoU", justify="right", footer=f"{score['mIoU']:.4f}")
    table.add_column("accuracy", justify="right", footer=f"{score['mAcc']:.4f}")
    table.add_column("pixels", justify="right", footer=f"{sum(c['pixels'] for c in score['classes']):,}")
    for row in score["classes"]:
        absent = row["pixels"] == 0
        table.add_row(
            row["name"], f"{row['iou']:.4f}", "absent" if absent else f"{row['accuracy']:.4f}", f"{row['pixels']:,}"
        )
    console.print(table)
    console.print(f"mIoU/mAcc/allAcc {score['mIoU']:.4f}/{score['mAcc']:.4f}/{score['allAcc']:.4f}", highlight=False)
    if expected is not None and score.get("limit") is None:
        console.print(verdict(score["mIoU"], expected), highlight=False)
