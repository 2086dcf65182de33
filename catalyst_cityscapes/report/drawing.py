"""Pictures with labels on them: overlays, legends and contact sheets, as uint8 RGB arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from catalyst_cityscapes.report.figure import elide
from catalyst_cityscapes.report.picture import colorize
from semseg_ref.base.errors import printable

INK, PALE_INK, PAPER = (24, 26, 30), (104, 110, 120), (255, 255, 255)
IGNORED_INK = (40, 40, 44)
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all pictures, in pixels."""
    return ImageFont.truetype(str(FONT), size)


def overlay(image: np.ndarray, label: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """An image with its classes' colours on it, and an opaque line where two classes meet.

    Pixels without a class (ignored ones) are hatched, so that padding and unlabelled areas show.

    Args:
        image: uint8 [H, W, 3], RGB.
        label: uint8 [H, W]; values from K on have no class.
        colors: uint8 [K, 3].
        opacity: of the colours, 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    solid = colorize(label, colors)
    mixed = cv2.addWeighted(image, 1 - opacity, solid, opacity, 0)
    ignored = label >= len(colors)
    if ignored.any():
        rows, columns = np.indices(label.shape, sparse=True)
        stripes = ignored & ((rows + columns) // max(min(label.shape) // 60, 2) % 2 == 0)
        mixed[ignored] = image[ignored]
        mixed[stripes] = IGNORED_INK
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    edge &= ~ignored
    mixed[edge] = solid[edge]
    return mixed


def to_height(picture: np.ndarray, height: int) -> np.ndarray:
    """A picture about `height` pixels high: reduced by area, or enlarged by a whole factor."""
    h, w = picture.shape[:2]
    if h > height:
        return cv2.resize(picture, (max(round(w * height / h), 1), height), interpolation=cv2.INTER_AREA)
    factor = max(height // h, 1)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def legend(entries: Sequence[tuple[str, Sequence[int] | None]], width: int, size: int = 13) -> np.ndarray:
    """Colour swatches with names, wrapped to `width` pixels; a colour of None is the hatching of ignored pixels.

    Returns:
        uint8 [h, width, 3].
    """
    face, swatch, gap = font(size), size + 2, 8
    places, x, y = [], gap, gap
    for name, color in entries:
        shown = elide(name, width - swatch - 4 * gap, face)
        needed = swatch + gap // 2 + face.getlength(shown) + 2 * gap
        if x > gap and x + needed > width:
            x, y = gap, y + swatch + gap
        places.append((x, y, shown, color))
        x += round(needed)
    canvas = Image.new("RGB", (width, y + swatch + gap), PAPER)
    draw = ImageDraw.Draw(canvas)
    for x, y, shown, color in places:
        box = (x, y, x + swatch - 1, y + swatch - 1)
        draw.rectangle(box, fill=PAPER if color is None else tuple(int(v) for v in color), outline=PALE_INK)
        if color is None:
            for offset in range(0, swatch, 4):
                draw.line((x + offset, y + swatch - 1, x + swatch - 1, y + offset), fill=IGNORED_INK)
        draw.text((x + swatch + gap // 2, y + swatch / 2), shown, fill=INK, font=face, anchor="lm")
    return np.asarray(canvas)


def class_entries(
    present: Sequence[int], names: Sequence[str], colors: np.ndarray
) -> list[tuple[str, Sequence[int] | None]]:
    """Legend entries of the class ids that occur; any id without a name is 'ignored', named once and last."""
    entries: list[tuple[str, Sequence[int] | None]] = [(names[i], colors[i]) for i in sorted(present) if i < len(names)]
    return [*entries, ("ignored", None)] if any(i >= len(names) for i in present) else entries


def above(*pictures: np.ndarray) -> np.ndarray:
    """Pictures stacked top to bottom, on paper where they are narrower than the widest."""
    width = max(picture.shape[1] for picture in pictures)
    rows = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=PAPER[0])
        for picture in pictures
    ]
    return np.concatenate(rows)


@dataclass(frozen=True)
class Cell:
    """One sample of a contact sheet: pictures side by side (uint8 RGB) under a title and a line of details."""

    title: str
    details: str
    pictures: tuple[np.ndarray, ...]


def contact_sheet(
    heading: str, cells: Sequence[Cell], legend_entries: Sequence[tuple[str, Sequence[int] | None]], height: int = 240
) -> np.ndarray:
    """All cells in rows under a heading, with one legend below.

    Args:
        heading: one line; it wraps at the sheet's width.
        cells: at least one.
        legend_entries: see `legend`.
        height: of the pictures, in pixels.

    Returns:
        uint8 [H, W, 3], about 1900 pixels wide at most.
    """
    gap, margin, caption = 4, 16, 44
    strips = [[to_height(picture, height) for picture in cell.pictures] for cell in cells]
    widths = [sum(picture.shape[1] for picture in strip) + gap * (len(strip) - 1) for strip in strips]
    cell_width = max([*widths, 200])
    cell_height = max(picture.shape[0] for strip in strips for picture in strip) + caption
    columns = max(1, min(len(cells), (1900 - margin) // (cell_width + margin)))
    width = margin + columns * (cell_width + margin)
    lines = _wrap(heading, width - 2 * margin, font(17))
    top = margin + 26 * len(lines) + 4
    rows = -(-len(cells) // columns)
    canvas = Image.new("RGB", (width, top + rows * (cell_height + margin)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((margin, margin + 26 * number), line, fill=INK, font=font(17))
    for index, (cell, strip) in enumerate(zip(cells, strips, strict=True)):
        x = margin + index % columns * (cell_width + margin)
        y = top + index // columns * (cell_height + margin)
        draw.text((x, y), elide(cell.title, cell_width, font(13)), fill=INK, font=font(13))
        draw.text((x, y + 19), elide(cell.details, cell_width, font(12)), fill=PALE_INK, font=font(12))
        for picture in strip:
            canvas.paste(Image.fromarray(picture), (x, y + caption))
            x += picture.shape[1] + gap
    return above(np.asarray(canvas), legend(legend_entries, width))


def _wrap(text: str, width: float, face: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [elide(line, width, face) for line in lines]
