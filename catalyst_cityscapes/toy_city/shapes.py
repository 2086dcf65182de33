"""What a scene is made of: filled shapes, gathered into annotated pieces, gathered into actors with a depth."""

import functools
import math
from dataclasses import dataclass, field
from enum import IntEnum

import cv2
import numpy as np

from catalyst_cityscapes.toy_city.annotation import Outline
from catalyst_cityscapes.toy_city.light import Color

SUBPIXEL_BITS = 4


class Texture(IntEnum):
    """What the surface of a shape looks like close up."""

    SMOOTH = 0
    SKY = 1
    ASPHALT = 2
    PAVING = 3
    GRASS = 4
    LEAVES = 5
    PLASTER = 6
    BRICK = 7
    METAL = 8
    CLOTH = 9


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon.

    Attributes:
        points: float [N, 2], pixels (x, y).
        color: RGB 0..255.
        texture: its surface.
        alpha: opacity, 0..1; what is not opaque keeps the texture beneath.
    """

    points: np.ndarray
    color: Color
    texture: Texture = Texture.SMOOTH
    alpha: float = 1.0


@dataclass(slots=True)
class Piece:
    """Shapes that carry one annotated name.

    Attributes:
        label: a name of the label table, or None for what nobody annotates (shadows, markings).
        shapes: painted in order.
        cover: float [N, 2] pixel polygons the annotator would outline together; None: the opaque shapes.
    """

    label: str | None
    shapes: list[Shape] = field(default_factory=list)
    cover: list[np.ndarray] | None = None


@dataclass(slots=True)
class Actor:
    """Pieces painted together; actors are painted from the largest depth z (metres) to the smallest."""

    z: float
    pieces: list[Piece]


def fixed_point(points: np.ndarray, limit: float) -> np.ndarray:
    """int32 [N, 2] with `SUBPIXEL_BITS` fractional bits, held within +-`limit` pixels."""
    return np.rint(np.minimum(np.maximum(points, -limit), limit) * (1 << SUBPIXEL_BITS)).astype(np.int32)


def pixel_window(points: np.ndarray, height: int, width: int) -> tuple[int, int, int, int] | None:
    """left, top, right, bottom (exclusive) of the pixels the points span and a rim of one; None off the picture."""
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    left, top = max(math.floor(max(x0, -9.0)) - 1, 0), max(math.floor(max(y0, -9.0)) - 1, 0)
    right, bottom = min(math.ceil(min(x1, width)) + 2, width), min(math.ceil(min(y1, height)) + 2, height)
    return (left, top, right, bottom) if right > left and bottom > top else None


def trace(polygons: list[np.ndarray], height: int, width: int) -> Outline | None:
    """The outer contour of the union of the polygons, clipped to the picture, in whole pixels.

    Args:
        polygons: float [N, 2] in pixels.
        height, width: of the picture.

    Returns:
        At least three corners inside the picture; of several islands the largest. None when fewer than three
        pixels are covered: too small for an annotator.
    """
    window = pixel_window(np.concatenate(polygons), height, width)
    if window is None:
        return None
    left, top, right, bottom = window
    mask = np.zeros((bottom - top, right - left), np.uint8)
    limit = 8.0 * (width + height)
    for polygon in polygons:
        cv2.fillPoly(mask, [fixed_point(polygon - (left, top), limit)], 1, cv2.LINE_8, SUBPIXEL_BITS)
    if cv2.countNonZero(mask) < 3:
        return None
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outer = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    corners = cv2.approxPolyDP(outer, max(0.5, height / 1024), True).reshape(-1, 2)
    corners = corners + np.array([left, top])
    if len(corners) < 3:
        # A line one pixel wide: a polygon needs three corners, so the way back is spelled out.
        corners = np.concatenate([corners, corners[-1:], corners[:1]])[:3] if len(corners) > 1 else corners.repeat(3, 0)
    return [(x, y) for x, y in corners.tolist()]


@functools.lru_cache
def unit_circle(corners: int) -> np.ndarray:
    """float64 [corners, 2]: points on the unit circle, from angle 0 on; not to be written to."""
    angle = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def oval(x: float, y: float, rx: float, ry: float, corners: int = 12) -> np.ndarray:
    """float64 [corners, 2]: an ellipse around (x, y)."""
    return unit_circle(corners) * (rx, ry) + (x, y)


def ring(x: float, y: float, rx: float, ry: float, thick: float, corners: int = 14) -> np.ndarray:
    """float64 [2 * corners + 2, 2]: an elliptical ring around (x, y), `thick` wide, as one polygon."""
    outer = oval(x, y, rx, ry, corners)
    inner = oval(x, y, max(rx - thick, 0.0), max(ry - thick, 0.0), corners)
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])


def box(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """float64 [4, 2]: an upright rectangle."""
    return np.array([(left, bottom), (left, top), (right, top), (right, bottom)], float)


def bar(x0: float, y0: float, x1: float, y1: float, thick: float) -> np.ndarray:
    """float64 [4, 2]: a straight bar from (x0, y0) to (x1, y1), `thick` wide."""
    along = np.array([x1 - x0, y1 - y0], float)
    across = np.array([-along[1], along[0]]) * (thick / 2 / max(float(np.hypot(*along)), 1e-6))
    ends = np.array([(x0, y0), (x1, y1)], float)
    return np.concatenate([ends + across, ends[::-1] - across])


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, rough: float = 0.18) -> np.ndarray:
    """float64 [26, 2]: a lumpy oval around (x, y), its radius off by about `rough`."""
    corners = 26
    angle = np.arange(corners) * (2.0 * np.pi / corners)
    lumps, phase = rng.integers(3, 9, 2), rng.uniform(0, 2 * np.pi, 2)
    radius = 1 + rough * (0.5 * np.sin(lumps[0] * angle + phase[0]) + 0.35 * np.sin(lumps[1] * angle + phase[1]))
    radius += rough * 0.5 * rng.uniform(-1, 1, corners)
    return unit_circle(corners) * radius[:, None] * (rx, ry) + (x, y)
