"""The report of a lab: one HTML file that needs nothing else. Everything that it shows is escaped."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from catalyst_cityscapes.lab.analysis.analysis import CONFIDENCE, Analysis
from catalyst_cityscapes.lab.analysis.charts import write_charts
from catalyst_cityscapes.lab.analysis.verdict import LEVEL, interval_text, points, share
from catalyst_cityscapes.lab.plan.plan import PLAN_FILE, differences, read_plan, shown
from catalyst_cityscapes.lab.results import LabResults
from catalyst_cityscapes.report.page import page_templates, to_bytes
from semseg_ref.base.files import create_folder, replace_atomically

PAGE = "report.html"


def write_lab_page(
    results: LabResults, analysis: Analysis, folder: str | Path, extra_sections: Sequence[tuple[str, Markup]] = ()
) -> Path:
    """Draws the pictures and writes `report.html` with them inside; returns the page.

    Args:
        results: of the lab.
        analysis: of these results.
        folder: gets `runs.png`, `differences.png`, `classes.png` and the page.
        extra_sections: (title, HTML) pairs shown after the verdicts; a plain string is escaped.

    Raises:
        InputError: the folder cannot be written, or the lab's plan is damaged.
    """
    folder = Path(folder)
    create_folder(folder)
    pictures = write_charts(analysis, folder)
    content = to_bytes(render_lab_page(results, analysis, pictures, extra_sections))
    path = folder / PAGE
    replace_atomically(path, lambda file: file.write(content))
    return path


def render_lab_page(
    results: LabResults,
    analysis: Analysis,
    pictures: dict[str, Path],
    extra_sections: Sequence[tuple[str, Markup]] = (),
) -> str:
    """The HTML text; `pictures` are the files of `write_charts`, the rest is as for `write_lab_page`."""
    context: dict[str, Any] = {
        "analysis": analysis,
        "folder": str(results.folder),
        "kind": {"ab": "A/B of recipes", "ladder": "Ladder between two recipes"}.get(results.kind, "Lab"),
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "pictures": {name: (_inline(path), _width(path)) for name, path in pictures.items()},
        "extra": [(f"extra-{number}", title, body) for number, (title, body) in enumerate(extra_sections)],
        "runs": sum(len(score.runs) for score in analysis.scores),
        "changes": _changes(results),
        "confidence": f"{100 * CONFIDENCE:g} %",
        "level": LEVEL,
    }
    templates = page_templates(points=points, share=share, p=_p, interval=interval_text)
    return templates.get_template("lab.html").render(context)


def _changes(results: LabResults) -> dict[str, list[tuple[str, str, str]]]:
    """(key, base's value, arm's value) of every arm of the plan, for people; empty where the folder has no plan."""
    if not (results.folder / PLAN_FILE).is_file():
        return {}
    plan = read_plan(results.folder)
    return {
        arm.name: [(key, shown(old), shown(new)) for key, old, new in differences(plan.base.recipe, arm.recipe)]
        for arm in plan.arms[1:]
    }


def _inline(path: Path) -> Markup:
    return Markup("data:image/png;base64,{}").format(base64.b64encode(path.read_bytes()).decode())


def _width(path: Path) -> int:
    """Largest width on the page, in its pixels."""
    with Image.open(path) as picture:
        return round(0.77 * picture.width)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"
