"""From outlines to the label images of the Cityscapes layout."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from catalyst_cityscapes.toy_city.labels import LABELS, find_label

Outline = list[tuple[int, int]]


@dataclass(frozen=True)
class Annotated:
    """One object as the annotator outlined it: its name and at least three corners (x, y) in pixels."""

    name: str
    outline: Outline


@dataclass(frozen=True)
class LabelImages:
    """What one polygon file is painted into.

    Attributes:
        label_ids: uint8 [H, W], 0..33.
        train_ids: uint8 [H, W], 0..18 and 255.
        instance_ids: uint16 [H, W]: the label id, or id * 1000 + n for the n-th single object of that label.
        color: uint8 [H, W, 4], RGBA, opaque.
    """

    label_ids: np.ndarray
    train_ids: np.ndarray
    instance_ids: np.ndarray
    color: np.ndarray


def polygons_document(objects: list[Annotated], height: int, width: int) -> dict[str, Any]:
    """The contents of `*_gtFine_polygons.json`: `imgHeight`, `imgWidth`, `objects` in painting order."""
    return {
        "imgHeight": height,
        "imgWidth": width,
        "objects": [{"label": thing.name, "polygon": [list(corner) for corner in thing.outline]} for thing in objects],
    }


def paint_labels(objects: list[Annotated], height: int, width: int) -> LabelImages:
    """Paints the outlines, later ones over earlier ones, on a background of `unlabeled`.

    The fill is that of Pillow's `ImageDraw.polygon`, which the official preparation uses, so repeating that
    preparation on the polygon file gives the same pixels.
    """
    owner = Image.new("I", (width, height), 0)
    draw = ImageDraw.Draw(owner)
    id_of = np.zeros(len(objects) + 1, np.uint8)
    instance_of = np.zeros(len(objects) + 1, np.uint16)
    seen: dict[int, int] = {}
    for number, thing in enumerate(objects, start=1):
        draw.polygon(thing.outline, fill=number)
        label, is_group = find_label(thing.name)
        id_of[number] = instance_of[number] = label.id
        if label.has_instances and not is_group:
            count = seen.get(label.id, 0)
            instance_of[number] = label.id * 1000 + count
            seen[label.id] = count + 1
    owners = np.asarray(owner)
    label_ids = id_of[owners]
    train_of = np.array([label.train_id for label in LABELS], np.uint8)
    color_of = np.array([(*label.color, 255) for label in LABELS], np.uint8)
    return LabelImages(label_ids, train_of[label_ids], instance_of[owners], color_of[label_ids])
