"""What all figures of reports and labs share: colours, text cut to fit, PNG files, and SVG for inside a page."""

import io
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import ImageFont

from semseg_ref.base.errors import printable
from semseg_ref.base.files import replace_atomically

INK, PALE, RULE, PAPER = "#1c2128", "#5b6572", "#dfe3e8", "#ffffff"
SERIES = ("#1f5fbf", "#c2570c", "#1a8f4a", "#8b3fc0")
RIGHT, WRONG = SERIES[2], "#d43a2f"
PAGE_COLORS = {
    INK: "--ink",
    PALE: "--pale",
    RULE: "--rule",
    PAPER: "--card",
    WRONG: "--wrong",
    **{color: f"--s{number}" for number, color in enumerate(SERIES)},
}
"""CSS variables of the page for colours of inline SVG, which so follows the page's light or dark scheme."""

SVG_STYLE = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}
"""Text stays text, in the page's reader's font where there is no DejaVu."""
KEPT = ("d", "x", "y", "style", "transform")
"""Attributes that say how something looks."""
REFERENCE = "{http://www.w3.org/1999/xlink}href"


def elide(text: str, room: float, face: ImageFont.FreeTypeFont | None = None) -> str:
    """`text` on one line, its middle replaced by an ellipsis where it is too long: names differ at their ends.

    Args:
        text: of anyone.
        room: the most that fits: pixels in this `face`, without one characters.
        face: a font of Pillow.
    """
    text = printable(text)
    kept = len(text)
    shown = text
    while kept > 2 and (len(shown) if face is None else face.getlength(shown)) > room:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown


def fitted(text: str, most: int = 28) -> str:
    """`text` for matplotlib, at most so many characters: a dollar sign begins no formula."""
    return elide(text, most).replace("$", r"\$")


def bare(axes: Axes) -> None:
    """Takes the frame off horizontal bars and intervals: vertical lines behind them, the lower axis, names."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)


def save_png(figure: Figure, path: str | Path, dpi: int) -> None:
    """Writes a figure as a PNG file, which appears complete or not at all."""
    replace_atomically(path, lambda file: figure.savefig(file, dpi=dpi, format="png"))


def inline_svg(figure: Figure, name: str, description: str, min_width: int = 0) -> Markup:
    """A figure as SVG for inside an HTML page: no ids, no style sheet and no date, and colours of the page.

    Args:
        figure: its inches are 72 units of the picture. What it draws must lie inside: nothing is clipped.
        name: the element's CSS class.
        description: for those who cannot see it.
        min_width: pixels of the page that it takes at least; a narrower one scrolls.
    """
    file = io.StringIO()
    with matplotlib.rc_context(SVG_STYLE), warnings.catch_warnings():
        # A name in a script that matplotlib's own font lacks is drawn by the browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", transparent=True)
    root = ElementTree.fromstring(file.getvalue())
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    page = ElementTree.Element(
        "svg", {"class": name, "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": description}
    )
    if min_width:
        page.set("style", f"min-width:{min_width}px")
    shapes = {node.attrib["id"]: node for node in root.iter() if "id" in node.attrib}
    _copy(root, page, shapes)
    text = ElementTree.tostring(page, encoding="unicode")
    for color, variable in PAGE_COLORS.items():
        text = text.replace(f": {color}", f": var({variable})")
    return Markup(text)


def _copy(source: ElementTree.Element, target: ElementTree.Element, shapes: dict[str, ElementTree.Element]) -> None:
    """Copies what is drawn, without namespaces and empty groups; a shape that is used by its id stands in its place."""
    for node in source:
        tag = node.tag.rpartition("}")[2]
        if tag in ("metadata", "defs"):
            continue
        attributes = {key: value for key, value in node.attrib.items() if key in KEPT}
        if tag == "use":
            shape = shapes[node.attrib[REFERENCE].removeprefix("#")]
            place = f"translate({float(node.attrib['x']):g} {float(node.attrib['y']):g})"
            look = {"d": shape.attrib["d"], "style": node.attrib["style"], "transform": place}
            ElementTree.SubElement(target, "path", look)
        elif tag == "g":
            group = ElementTree.Element("g", attributes)
            _copy(node, group, shapes)
            target.extend([group] if attributes else list(group))
        else:
            ElementTree.SubElement(target, tag, attributes).text = node.text
