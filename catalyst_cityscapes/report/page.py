"""The report of a run: one HTML file that needs nothing else. Everything that it shows is escaped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup

from catalyst_cityscapes.report.charts import Series, binned, heat_map, line_chart
from catalyst_cityscapes.report.frames import labels_uri, ranked_frames
from catalyst_cityscapes.report.run_record import RunRecord, ScoreRecord, epoch_series, last_metrics, protocol_text
from catalyst_cityscapes.report.table import verdict
from semseg_ref.base.errors import InputError, printable
from semseg_ref.catalog import load_colors
from semseg_ref.metric import EPSILON

DRAWN_CLASSES = 40
"""More classes than this make a heat map of plain pixels, without names and numbers."""


@dataclass(frozen=True)
class ClassRow:
    """A line of the table of classes; shares in 0..1, None where there is no such number."""

    name: str
    color: str
    iou: float | None
    accuracy: float | None
    precision: float | None
    pixels: int
    share: float
    absent: bool
    taken_for: str


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that were predicted as another; `share` of that class, `of_errors` of all wrong pixels."""

    truth: str
    prediction: str
    pixels: int
    share: float
    of_errors: float


def render_report(record: RunRecord, score: ScoreRecord | None) -> str:
    """The HTML text of a run's report; `score` is the one shown in detail, None where the run was never tested."""
    notes = list(record.notes)
    context: dict[str, Any] = {
        "record": record,
        "score": score,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "curves": curves(record),
        "last_epoch": last_metrics(record),
        "unit": record.unit,
        "environment": flatten(record.environment),
        "notes": notes,
        "classes": [],
        "confusions": [],
        "heat": "",
        "worst": [],
        "best": [],
        "verdict": "",
        "protocol": "",
        "relative": lambda path: relative_to_run(path, record.folder),
        "hashes": {entry.protocol_hash for entry in record.scores},
    }
    if score is not None:
        colors = class_colors(record, score, notes)
        matrix = None if score.matrices is None else score.matrices.sum(axis=0)
        names = [entry.name for entry in score.content.classes]
        context["classes"] = class_rows(score, matrix, colors)
        context["protocol"] = protocol_text(score) if score.content.protocol else ""
        expected = None if record.recipe is None else record.recipe.expected
        if expected is not None and expected.miou is not None and score.content.limit is None:
            context["verdict"] = verdict(score.content.mIoU, expected, score.protocol_name)
        if matrix is not None:
            context["heat"] = heat_map(matrix, names) if len(names) <= DRAWN_CLASSES else heat_picture(matrix)
            context["confusions"] = largest_confusions(matrix, names)
            data = None if record.recipe is None else record.recipe.data
            context["worst"], context["best"] = ranked_frames(score, data, colors)
    return page_templates().get_template("report.html").render(context)


def page_templates(**filters: Callable[..., Any]) -> jinja2.Environment:
    """The pages of `report/templates`: what they show is escaped, and a name that nobody gave is an error.

    Args:
        filters: for the templates, beside `printable`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("catalyst_cityscapes.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(printable=printable, **filters)
    return environment


def curves(record: RunRecord) -> list[tuple[str, Markup, str]]:
    """(title, chart, remark) of each learning curve that has data."""
    rows = record.iterations
    steps = [row.iteration for row in rows]
    charts = []
    if rows:
        losses = {"loss": "loss", "main": "main_loss", "auxiliary": "aux_loss"}
        lines = [binned(name, steps, [getattr(row, column) for row in rows]) for name, column in losses.items()]
        broken = sum(not np.isfinite(row.loss) for row in rows)
        remark = f"{broken:,} of {len(rows):,} steps have no finite loss; they are left out." if broken else ""
        if any(line.band is not None for line in lines):
            remark = f"{remark} Lines are means of neighbouring steps, bands their extremes.".strip()
        charts.append(("Training loss", line_chart(lines, "step"), remark))
        rates = [binned("backbone", steps, [row.lr_backbone for row in rows])]
        if any(row.lr_head != row.lr_backbone for row in rows):
            rates.append(binned("heads", steps, [row.lr_head for row in rows]))
        charts.append(("Learning rate", line_chart([Series(s.name, s.x, s.y) for s in rates], "step"), ""))
    for metric, title in (("mIoU", "mIoU while training"), ("loss", f"Loss of the {record.unit}s")):
        series = [
            Series(loader, np.array(epochs, float), np.array(values), markers=len(epochs) <= 40)
            for loader, (epochs, values) in epoch_series(record, metric).items()
        ]
        remark = (
            "On training crops and on the validation's own view: not the test's numbers." if metric == "mIoU" else ""
        )
        if metric == "mIoU" or len(series) > 1:
            charts.append((title, line_chart(series, record.unit), remark))
    return [entry for entry in charts if entry[1]]


def class_colors(record: RunRecord, score: ScoreRecord, notes: list[str]) -> np.ndarray:
    """uint8 [K, 3]: the recipe's colours, or made-up ones where they cannot be had."""
    count = len(score.content.classes)
    if record.recipe is not None:
        try:
            return load_colors(record.recipe.data.colors, count)
        except InputError as error:
            notes.append(f"Made-up class colours: {error}.")
    hues = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]
    return np.rint(hues * 255).astype(np.uint8)


def class_rows(score: ScoreRecord, matrix: np.ndarray | None, colors: np.ndarray) -> list[ClassRow]:
    """The table of classes, in their own order."""
    entries = score.content.classes
    total = sum(entry.pixels for entry in entries)
    rows = []
    for index, entry in enumerate(entries):
        precision, taken_for = None, ""
        if matrix is not None:
            predicted = matrix[:, index].sum()
            precision = float(matrix[index, index] / predicted) if predicted else None
            others = matrix[index].copy()
            others[index] = 0
            if others.any():
                other = int(others.argmax())
                taken_for = f"{entries[other].name} {others[other] / matrix[index].sum():.0%}"
        color = "#" + "".join(f"{int(v):02x}" for v in colors[index])
        share = entry.pixels / total if total else 0.0
        rows.append(
            ClassRow(
                entry.name,
                color,
                entry.iou,
                entry.accuracy,
                precision,
                entry.pixels,
                share,
                entry.pixels == 0,
                taken_for,
            )
        )
    return rows


def largest_confusions(matrix: np.ndarray, names: Sequence[str], most: int = 12) -> list[Confusion]:
    """The pairs of classes that cost the most pixels."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    errors = wrong.sum()
    totals = matrix.sum(axis=1)
    found = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        row, column = divmod(int(place), len(names))
        pixels = int(wrong[row, column])
        if pixels:
            found.append(
                Confusion(names[row], names[column], pixels, pixels / int(totals[row]), float(pixels / errors))
            )
    return found


def heat_picture(matrix: np.ndarray) -> Markup:
    """The confusion matrix of many classes as a picture: dark is a large share of the true class."""
    shares = matrix / (matrix.sum(axis=1, keepdims=True) + EPSILON)
    grey = np.rint(255 * (1 - shares**0.5)).astype(np.uint8)
    factor = max(512 // len(grey), 1)
    enlarged = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    uri = labels_uri(enlarged, np.arange(256, dtype=np.uint8)[:255, None].repeat(3, axis=1))
    return Markup('<img class="heat" src="{}" alt="confusion matrix, rows truth, columns prediction">').format(uri)


def flatten(content: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON as (dotted key, text) lines."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            lines += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and all(isinstance(v, (str, int, float)) for v in value):
            lines.append((f"{prefix}{key}", " ".join(map(str, value)) or "none"))
        else:
            text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
            lines.append((f"{prefix}{key}", text))
    return lines


def to_bytes(html: str) -> bytes:
    """UTF-8; undecodable bytes of file names become '?'."""
    return html.encode("utf-8", errors="replace")


def relative_to_run(path: Path, folder: Path) -> str:
    """A path as the page shows it: below the run folder where it lies there."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
