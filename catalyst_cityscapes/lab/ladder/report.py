"""What a ladder shows: terminal table, `ladder.csv`, `ladder.json`, `ladder.png`, a section of the HTML report."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table

from catalyst_cityscapes.lab.ladder.chart import draw_ladder
from catalyst_cityscapes.lab.ladder.ladder import DESIGNS
from catalyst_cityscapes.lab.ladder.verdict import compared, remainder_verdict, span, verdict
from catalyst_cityscapes.lab.ladder.waterfall import Bar, Effect, Waterfall
from catalyst_cityscapes.report.terminal import open_console
from semseg_ref.base.files import create_folder, replace_atomically

TITLE = "Ladder"
PICTURE = "ladder.png"
HEADINGS = {"added": "added to FROM", "removed": "removed from TO", "path": "on the path"}
LEGEND = (
    "Every number is the effect of having TO's component instead of FROM's, in points of mIoU, with a 95 % interval "
    "over paired seeds. A minus means that TO's component scores less, also in the column of what was removed from TO."
)


def ladder_lines(found: Waterfall) -> list[str]:
    """The verdicts in sentences: the total, the remainders, then each component in each view."""
    lines = [f"all components together: {verdict(found.total)}"]
    for view, remainder in (("added", found.remainder_added), ("removed", found.remainder_removed)):
        if remainder is not None:
            lines.append(f"total minus the effects {HEADINGS[view]}: {remainder_verdict(remainder)}")
    among = {view: compared([getattr(bar, view) for bar in found.bars]) for view in DESIGNS}
    for bar in found.bars:
        for view in DESIGNS:
            effect: Effect | None = getattr(bar, view)
            if effect is not None:
                lines.append(f"{bar.rung.name}, {HEADINGS[view]}: {verdict(effect, among[view])}")
    return lines


def print_ladder(found: Waterfall, console: Console | None = None) -> None:
    """Prints the ladder: a row a component, its effects with intervals, then the verdicts.

    Args:
        found: what the ladder measured.
        console: where to print; None is the terminal.
    """
    console = open_console(console)
    views = _views(found)
    table = Table(title="ladder: points of mIoU, effect of TO's component instead of FROM's (95 % over seeds)")
    table.add_column("component", overflow="fold")
    for view in views:
        table.add_column(HEADINGS[view], justify="right")
    if found.levels:
        table.add_column("mIoU after", justify="right")
    blank = [""] * len(views)
    levels = [f"{100 * level:.2f}" for level in found.levels]
    if levels:
        table.add_row("FROM", *blank, levels[0])
    for index, bar in enumerate(found.bars):
        effects = [span(getattr(bar, view)) for view in views]
        table.add_row(escape_markup(bar.rung.name), *effects, *levels[index + 1 : index + 2])
    table.add_section()
    table.add_row("all together", *[span(found.total)] * len(views), *levels[-1:])
    remainders = {"added": found.remainder_added, "removed": found.remainder_removed}
    if any(remainders.values()):
        table.add_row("remainder (interactions)", *(span(remainders.get(view)) for view in views))
    console.print(table)
    for line in short_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def short_lines(found: Waterfall) -> list[str]:
    """`ladder_lines` with one line for all components whose effect is shown in no view."""
    effects = {bar.rung.name: [getattr(bar, view) for view in DESIGNS] for bar in found.bars}
    silent = [name for name, those in effects.items() if not any(e is not None and e.is_shown for e in those)]
    lines = [line for line in ladder_lines(found) if not line.startswith(tuple(f"{name}, " for name in silent))]
    return [*lines, f"no effect shown of: {', '.join(silent)} (ladder.csv has each verdict)"] if silent else lines


def _views(found: Waterfall) -> list[str]:
    return [view for view in DESIGNS if any(getattr(bar, view) is not None for bar in found.bars)]


def _rows(found: Waterfall) -> Iterator[tuple[str, str, str, Effect, str]]:
    """(component, view, arms, effect, verdict) of every effect."""
    among = {view: compared([getattr(bar, view) for bar in found.bars]) for view in DESIGNS}
    yield "all together", "total", "", found.total, verdict(found.total)
    for view, remainder in (("added", found.remainder_added), ("removed", found.remainder_removed)):
        if remainder is not None:
            yield "remainder", view, "", remainder, remainder_verdict(remainder)
    for bar in found.bars:
        for view in DESIGNS:
            effect = getattr(bar, view)
            if effect is not None:
                yield bar.rung.name, view, getattr(bar.rung, view) or "", effect, verdict(effect, among[view])


def write_ladder(found: Waterfall, notes: str, folder: Path) -> list[Path]:
    """Writes `ladder.csv` (a line an effect), `ladder.json` and `ladder.png`; mIoU in 0..1, empty where there is none.

    Args:
        found: what the ladder measured.
        notes: of the ladder.
        folder: of the lab.

    Raises:
        InputError: the folder cannot be written.
    """
    create_folder(folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["component", "view", "arm", "seeds", "mean", "low", "high", "p_t", "p_holm", "p_sign_flip", "verdict"]
    )
    for name, view, arm, effect, words in _rows(found):
        ends = (None, None) if effect.interval is None else (effect.interval.low, effect.interval.high)
        tests = (effect.p, effect.p_holm, effect.p_sign_flip)
        writer.writerow([name, view, arm, len(effect.seeds), effect.mean, *ends, *tests, words])
    replace_atomically(folder / "ladder.csv", lambda file: file.write(text.getvalue().encode()))
    content = json.dumps(to_json(found, notes), indent=1, allow_nan=False) + "\n"
    replace_atomically(folder / "ladder.json", lambda file: file.write(content.encode()))
    draw_ladder(found, folder / PICTURE)
    return [folder / name for name in ("ladder.csv", "ladder.json", PICTURE)]


def to_json(found: Waterfall, notes: str) -> dict[str, Any]:
    """JSON values of a waterfall; mIoU in 0..1."""
    return {
        "confidence": 0.95,
        "notes": notes,
        "from": found.start,
        "to": found.goal,
        "total": _json_effect(found.total),
        "remainder": {"added": _json_effect(found.remainder_added), "removed": _json_effect(found.remainder_removed)},
        "levels": list(found.levels),
        "components": [_json_bar(bar) for bar in found.bars],
        "verdicts": ladder_lines(found),
    }


def _json_bar(bar: Bar) -> dict[str, Any]:
    rung = bar.rung
    arms = {view: getattr(rung, view) for view in DESIGNS}
    effects = {view: _json_effect(getattr(bar, view)) for view in DESIGNS}
    return {"name": rung.name, "source": list(rung.source), "note": rung.note, "arms": arms, **effects}


def _json_effect(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "seeds": list(effect.seeds),
        "differences": effect.differences.tolist(),
        "same_arm": effect.same,
        "mean": effect.mean,
        "interval": None if effect.interval is None else [effect.interval.low, effect.interval.high],
        "p_t": effect.p,
        "p_holm": effect.p_holm,
        "p_sign_flip": effect.p_sign_flip,
    }


def ladder_section(found: Waterfall, notes: str, picture: Path) -> tuple[str, Markup]:
    """(title, HTML) for the lab's page: picture, table, verdicts, notes. Everything that it shows is escaped.

    Args:
        found: what the ladder measured.
        notes: of the ladder.
        picture: the PNG of `draw_ladder`; it is put into the page.
    """
    data = base64.b64encode(picture.read_bytes()).decode()
    image = Markup('<p><img src="data:image/png;base64,{}" alt="waterfall" style="max-width:100%"></p>').format(data)
    views = _views(found)
    head = Markup("").join(Markup("<th>{}</th>").format(HEADINGS[view]) for view in views)
    rows = Markup("").join(_html_row(bar, views) for bar in found.bars)
    total = Markup("<tr><td>all together</td>{}<td></td></tr>").format(_cells([found.total] * len(views)))
    remainders = {"added": found.remainder_added, "removed": found.remainder_removed}
    rest = Markup("<tr><td>remainder (interactions)</td>{}<td></td></tr>").format(
        _cells([remainders.get(view) for view in views])
    )
    lines = Markup("").join(Markup("<li>{}</li>").format(line) for line in ladder_lines(found))
    return TITLE, Markup(
        "{notes}<p>{legend}</p>{image}<table><thead><tr><th>component</th>{head}<th>what it is</th></tr></thead>"
        "<tbody>{rows}{total}{rest}</tbody></table><ul>{lines}</ul>"
    ).format(
        notes=Markup("<p>{}</p>").format(notes) if notes else "",
        legend=LEGEND,
        image=image,
        head=head,
        rows=rows,
        total=total,
        rest=rest,
        lines=lines,
    )


def _cells(effects: list[Effect | None]) -> Markup:
    return Markup("").join(Markup("<td>{}</td>").format(span(effect)) for effect in effects)


def _html_row(bar: Bar, views: list[str]) -> Markup:
    what = bar.rung.note or ", ".join(bar.rung.source[:6])
    effects = _cells([getattr(bar, view) for view in views])
    return Markup("<tr><td>{}</td>{}<td>{}</td></tr>").format(escape(bar.rung.name), effects, what)
