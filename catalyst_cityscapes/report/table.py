"""Tables of scores: for the terminal, as text, and as HTML for notebooks."""

import io
from collections.abc import Callable, Sequence
from html import escape as escape_html
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalyst_cityscapes.inference.described import described
from catalyst_cityscapes.recipe.schema import Expected
from catalyst_cityscapes.runs.checkpoints import trained_text
from semseg_ref.base.errors import InputError, OptionError, printable
from semseg_ref.protocol import Protocol

MEANS = ("mIoU", "mAcc", "allAcc")
NUMBERS = ("images", *MEANS)
ROW = ("run", "epoch", "protocol", *NUMBERS)
"""Columns of scores side by side."""


def plain(value: Any) -> str:
    """`value` as text for rich: what a file says is neither its markup (`[red]`) nor a terminal's escape sequence."""
    return escape(printable(str(value)))


def verdict(miou: float, expected: Expected, protocol: str | None = None) -> str:
    """How a score compares to a published one: `within` its tolerance, or how far `below` or `above`.

    Args:
        miou: the score, 0..1.
        expected: the published result, with a number.
        protocol: name of the score's protocol; where the published number has another, nothing is compared.
    """
    if expected.protocol not in (None, protocol):
        return (
            f"the published {expected.miou:.4f} is of protocol {expected.protocol}, this score is not: no comparison "
            f"({expected.source})"
        )
    gap = miou - expected.miou
    if abs(gap) <= expected.tolerance + 1e-12:  # 0.7830 - 0.7730 is a little more than 0.01 in floating point
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
    title = plain(f"{score['experiment']}, {trained_text(score)}, {score['images']} images")
    caption = plain(f"protocol {protocol['name'] or ''} {protocol['hash']}")
    table = Table(title=title, caption=caption, show_footer=True)
    table.add_column("class", footer="mean")
    table.add_column("IoU", justify="right", footer=f"{score['mIoU']:.4f}")
    table.add_column("accuracy", justify="right", footer=f"{score['mAcc']:.4f}")
    table.add_column("pixels", justify="right", footer=f"{sum(c['pixels'] for c in score['classes']):,}")
    for row in score["classes"]:
        absent = row["pixels"] == 0
        accuracy = "absent" if absent else f"{row['accuracy']:.4f}"
        table.add_row(plain(row["name"]), f"{row['iou']:.4f}", accuracy, f"{row['pixels']:,}")
    console.print(table)
    console.print(f"mIoU/mAcc/allAcc {score['mIoU']:.4f}/{score['mAcc']:.4f}/{score['allAcc']:.4f}", highlight=False)
    if "occurring" in score:
        console.print(plain(occurring_text(score)), highlight=False)
    official = score.get("official")
    if official:
        console.print(
            f"official (cityscapesScripts {official['cityscapesscripts']}): IoU class {score['mIoU']:.4f}; the table's "
            f"IoU are ours, their mean over all {len(score['classes'])} classes is {official['own']['mIoU']:.4f}",
            highlight=False,
        )
    if expected is not None and expected.miou is not None and score.get("limit") is None:
        console.print(plain(verdict(score["mIoU"], expected, protocol["name"])), highlight=False)


def occurring_text(score: dict[str, Any]) -> str:
    """The means without the classes that do not occur, of a score file with the entry `occurring`, as one line."""
    found, classes = score["occurring"], score["classes"]
    absent, unlabelled = len(found["absent"]), sum(row["pixels"] == 0 for row in classes)
    miou, macc = ("-" if mean is None else f"{mean:.4f}" for mean in (found["mIoU"], found["mAcc"]))
    return (
        f"without what does not occur, as mmsegmentation averages: mIoU {miou} over {len(classes) - absent} of "
        f"{len(classes)} classes ({absent} left out, in no label and no prediction), mAcc {macc} over the "
        f"{len(classes) - unlabelled} in the labels; above, these count as 0"
    )


def incomparable(scores: Sequence[dict[str, Any]]) -> list[str]:
    """Why scores must not be compared with each other: one line a reason, none when they may.

    Args:
        scores: contents of `score.json` files.
    """
    reasons = []
    hashes = {(score["protocol"] or {}).get("hash"): _protocol(score) for score in scores}
    if len(hashes) > 1:
        reasons.append(f"{len(hashes)} different protocols: {', '.join(hashes.values())}")
    elif None in hashes:
        reasons.append("the protocol is not recorded")
    sets = {(score.get("list_sha256") or score.get("list"), score["images"]): score for score in scores}
    if len(sets) > 1:
        named = [f"{score.get('list', 'unknown list')} ({score['images']} images)" for score in sets.values()]
        reasons.append(f"{len(sets)} different sets of images: {', '.join(named)}")
    return reasons


def _protocol(score: dict[str, Any]) -> str:
    protocol = score["protocol"]
    return "unknown" if protocol is None else f"{protocol['name'] or ''} {protocol['hash']}".strip()


def side_by_side(scores: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a score, with the keys of `ROW`; a run without a name is called by its file, the means are 0..1.

    Args:
        scores: (file, content) pairs.
    """
    return [
        {
            "run": score.get("experiment") or file,
            "epoch": trained_text(score) if "iteration" in score else score.get("epoch"),
            "protocol": _protocol(score),
            **{key: score[key] for key in NUMBERS},
        }
        for file, score in scores
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    return [f"{row[key]:.4f}" if key in MEANS else "-" if row[key] is None else str(row[key]) for key in ROW]


def print_scores(scores: Sequence[tuple[str, dict[str, Any]]], console: Console | None = None) -> None:
    """Prints score files side by side, and under the table why they are not comparable, where they are not.

    Args:
        scores: (file, content) pairs.
        console: where to print; None is the terminal.
    """
    console = console or Console()
    reasons = incomparable([score for _, score in scores])
    table = Table(title="NOT COMPARABLE" if reasons else f"{len(scores)} scores of one protocol")
    for name in ROW:
        is_number = name in NUMBERS
        table.add_column(name, justify="right" if is_number else "left", overflow="ellipsis" if is_number else "fold")
    for row in side_by_side(scores):
        table.add_row(*map(plain, _cells(row)))
    console.print(table)
    for file, score in scores:
        if "occurring" in score:
            console.print(plain(f"{file}: {occurring_text(score)}"), highlight=False, soft_wrap=True)
    for reason in reasons:
        console.print(plain(f"not comparable: {reason}"), highlight=False, soft_wrap=True)


def print_protocols(scores: Sequence[tuple[str, dict[str, Any]]], console: Console | None = None) -> None:
    """Prints a column a score: what its protocol does, step by step, and what came of it.

    Args:
        scores: (file, content) pairs; those without a recorded protocol are refused.
        console: where to print; None is the terminal.

    Raises:
        InputError: a score whose protocol is not recorded, or is none.
    """
    console = console or Console()
    columns = [_column(file, score) for file, score in scores]
    weights = {(score.get("checkpoint") or {}).get("sha256"): score for _, score in scores}
    sets = {(score.get("list_sha256") or score.get("list"), score["images"]) for _, score in scores}
    one = len(weights) == 1 and None not in weights and len(sets) == 1
    about = f"{len(scores)} protocols, one checkpoint" if one else "NOT ONE CHECKPOINT ON ONE LIST"
    table = Table(title=about)
    table.add_column("")
    for _, score in scores:
        table.add_column(plain(_protocol(score)))
    for index, key in enumerate(columns[0]):
        rows = [column[key] for column in columns]
        table.add_row(key, *map(plain, rows), end_section=index == len(columns[0]) - len(SCORED) - 1)
    console.print(table)
    if not one:
        told = f"{len(weights)} checkpoints, {len(sets)} sets of images: the columns differ by more than the protocol"
        console.print(told, highlight=False)


SCORED = ("images", "mIoU", "mAcc", "allAcc", "mIoU, occurring")
"""Last rows of `print_protocols`."""


def _column(file: str, score: dict[str, Any]) -> dict[str, str]:
    try:
        protocol = Protocol.from_dict({key: value for key, value in (score["protocol"] or {}).items() if key != "hash"})
    except OptionError as error:
        raise InputError(f"{file}: its protocol is not recorded, or is none of this version ({error})") from error
    occurring = score.get("occurring")
    means = (str(score["images"]), *(f"{score[name]:.4f}" for name in MEANS))
    left = "the same" if occurring is None else "-" if occurring["mIoU"] is None else f"{occurring['mIoU']:.4f}"
    return {**described(protocol, score.get("align_corners")), **dict(zip(SCORED, (*means, left), strict=True))}


def text_of(show: Callable[[Console], None], width: int = 100) -> str:
    """What `show` prints on a console of that width, as plain text."""
    stream = io.StringIO()
    # In a notebook rich would display it at once, whatever the file.
    show(Console(file=stream, width=width, color_system=None, force_jupyter=False))
    return stream.getvalue().rstrip()


def score_html(score: dict[str, Any]) -> str:
    """A score file's content as an HTML table: a line per class, and the means."""
    rows = []
    for row in score.get("classes", ()):
        accuracy = "absent" if row["pixels"] == 0 else f"{row['accuracy']:.4f}"
        rows.append([row["name"], f"{row['iou']:.4f}", accuracy, f"{row['pixels']:,}"])
    rows.append(["mean", f"{score['mIoU']:.4f}", f"{score['mAcc']:.4f}", f"allAcc {score['allAcc']:.4f}"])
    title = f"{score.get('experiment')}, {trained_text(score)}, {score['images']} images, {_protocol(score)}"
    return _html(title, ("class", "IoU", "accuracy", "pixels"), rows, 1)


def scores_html(scores: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Scores side by side as an HTML table, and why they are not comparable, where they are not.

    Args:
        scores: (file, content) pairs.
    """
    reasons = incomparable([score for _, score in scores])
    title = f"NOT COMPARABLE: {'; '.join(reasons)}" if reasons else f"{len(scores)} scores of one protocol"
    return _html(title, ROW, [_cells(row) for row in side_by_side(scores)], len(ROW) - len(NUMBERS))


def _html(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> str:
    """A table whose first columns are `texts`, the others numbers; what files say is no markup."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left" if index < texts else "right" for index in range(len(cells))]
        inside = (
            f'<{tag} style="text-align:{side}">{escape_html(printable(str(cell)))}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(inside)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    caption = escape_html(printable(title))
    return f"<table><caption>{caption}</caption><thead>{line(columns, 'th')}</thead><tbody>{body}</tbody></table>"
