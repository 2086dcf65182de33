"""What an augmentation does to position, visibility, labels and values, measured by sending known images through it.

For each draw the same pipeline runs, with the same random numbers, on a black image, a white one, and two that hold
every pixel's column and row as grey levels. Black and white tell what the pipeline does to values and which output
pixels show the image at all; the other two tell from where each output pixel comes. Labels travel along: two far
classes in blocks, and bands of the coordinates. So it does not matter which library the augmentation is made of.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from semseg_ref.base.errors import DataError
from semseg_ref.base.seed_streams import SeedStreams

Augmentation = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]
COVERED, UNCOVERED = 0.999, 0.001
"""Share of an output pixel that shows the image from which on it counts as image, and below which as padding."""
BANDS = 8
BLOCK = 12


@dataclass(frozen=True)
class Draw:
    """One draw of an augmentation.

    Attributes:
        size: (height, width) of the output.
        scale_y, scale_x: output pixels per source pixel; NaN where nothing is visible.
        rotation: degrees, positive counter-clockwise on the screen.
        mirrored: left and right (or top and bottom) are swapped.
        visible: share of the output that shows the image, 0..1; the rest is padding.
        source: share of the source image that is visible, 0..1.
        top, left: source row and column of the output's centre, as shares of the image, 0..1.
        residual: root mean square distance, in source pixels, of the true positions from the affine fit.
        padding_ignored: share of the padded pixels whose label is the ignore index; NaN without padding.
        labels_kept: no label value came out that was not put in, the ignore index aside.
        labels_aligned: share of the visible pixels whose label comes from where the pixel comes from, 0..1.
        labels_ignored: share of the visible pixels whose label became the ignore index.
        mean, std: grey levels per channel of `(value - mean) / std`, where something is visible; else NaN.
    """

    size: tuple[int, int]
    scale_y: float
    scale_x: float
    rotation: float
    mirrored: bool
    visible: float
    source: float
    top: float
    left: float
    residual: float
    padding_ignored: float
    labels_kept: bool
    labels_aligned: float
    labels_ignored: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def scale(self) -> float:
        """Geometric mean of the two scales, output pixels per source pixel."""
        return math.sqrt(self.scale_y * self.scale_x)


@dataclass(frozen=True)
class Colours:
    """Grey levels 0..255 that red, green and blue of a constant image have in output channel 0, 1, 2.

    `matrix[c][i]` is the response of output channel c to input channel i, 1 for the reference's identity;
    `order[c]` is the input channel that output channel c shows most of without colour steps, (0, 1, 2) for RGB kept.
    """

    matrix: np.ndarray
    order: tuple[int, ...]


def run_once(
    augmentation: Augmentation, image: np.ndarray, label: np.ndarray, streams: SeedStreams, epoch: int, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """One seeded call.

    Args:
        augmentation: `(image float32 [H, W, 3], label uint8 [H, W]) -> (image [3, h, w], label [h, w])`.
        image, label: its input; copied.
        streams, epoch, index: position of the draw.

    Returns:
        float64 [3, h, w] and int64 [h, w].

    Raises:
        DataError: the output has other ranks or the two differ in size.
    """
    with torch.random.fork_rng(devices=[]):
        streams.seed_augmentation(epoch, index)
        out, target = augmentation(image.copy(), label.copy())
    out, target = np.asarray(out, np.float64), np.asarray(target)
    if out.ndim != 3 or target.ndim != 2 or out.shape[0] != 3 or out.shape[1:] != target.shape:
        raise DataError(
            f"augmentation: gives an image of {out.shape} and a label of {target.shape}, expected [3, h, w] and [h, w]"
        )
    return out, target.astype(np.int64)


def measure_draw(
    augmentation: Augmentation,
    size: tuple[int, int],
    classes: int,
    ignore_index: int,
    streams: SeedStreams,
    epoch: int = 0,
    index: int = 0,
    without_colour: Augmentation | None = None,
) -> Draw:
    """Measures one draw.

    Args:
        augmentation: see `run_once`.
        size: (height, width) of the images that it gets.
        classes, ignore_index: of the labels.
        streams, epoch, index: position of the draw.
        without_colour: the same with its colour steps' images thrown away (`colour_steps`), from which places are
            read; None where it has none.

    Raises:
        DataError: see `run_once`.
    """
    h, w = size
    places = augmentation if without_colour is None else without_colour
    rows = np.linspace(0, 255, h, dtype=np.float32)[:, None]
    columns = np.linspace(0, 255, w, dtype=np.float32)[None, :]
    far = (0, classes - 1)
    blocks = np.indices((h, w)) // BLOCK
    two_classes = np.where(blocks.sum(axis=0) % 2 == 0, far[0], far[1]).astype(np.uint8)

    def send(grey: np.ndarray, label: np.ndarray, through: Augmentation = places) -> tuple[np.ndarray, np.ndarray]:
        image = np.broadcast_to(grey[..., None], (h, w, 3)).astype(np.float32)
        return run_once(through, image, label, streams, epoch, index)

    bands = min(classes, BANDS)
    # A crop may look at the classes in it. No window is of one class mainly, so that all labels give the same crop.
    apart = bands // 2 if bands >= 4 else 0
    checker = apart * (blocks.sum(axis=0) % 2)
    row_bands = (((np.arange(h) * bands // h)[:, None] + checker) % bands).astype(np.uint8)
    column_bands = (((np.arange(w) * bands // w)[None, :] + checker) % bands).astype(np.uint8)
    zeros, full = np.zeros((h, w), np.float32), np.full((h, w), 255, np.float32)
    black, _ = send(zeros, two_classes)
    white, blocky = send(full, two_classes)
    across, column_label = send(np.broadcast_to(columns, (h, w)), column_bands)
    down, row_label = send(np.broadcast_to(rows, (h, w)), row_bands)

    response = white - black
    cover = np.mean([_share_of_full(np.abs(channel)) for channel in response], axis=0)
    inside, padded = cover > COVERED, cover < UNCOVERED
    share = inside.mean()
    ignored = blocky == ignore_index
    kept = set(np.unique(blocky).tolist()) <= {*far, ignore_index}
    common = {
        "size": inside.shape,
        "visible": float(cover.clip(0, 1).mean()),
        "padding_ignored": float(ignored[padded].mean()) if padded.any() else math.nan,
        "labels_kept": kept,
        "labels_ignored": float(ignored[inside].mean()) if inside.any() else math.nan,
    }
    if share < 0.001:
        nothing = dict.fromkeys(
            ("scale_y", "scale_x", "rotation", "top", "left", "residual", "labels_aligned"), math.nan
        )
        return Draw(**common, **nothing, mirrored=False, source=0.0, mean=(math.nan,) * 3, std=(math.nan,) * 3)
    gain = np.where(response == 0, 1, response)
    x = ((across - black) / gain).mean(axis=0) * (w - 1)
    y = ((down - black) / gain).mean(axis=0) * (h - 1)
    fit = _affine(inside, x, y)
    if without_colour is not None:
        black, white = (send(grey, two_classes, augmentation)[0] for grey in (zeros, full))
    mean, std = _levels(black, white, inside)
    fitted = fit(size)
    smaller = min(fitted["scale_y"], fitted["scale_x"])
    # Nearest and bilinear grids differ by up to an output pixel, which is several source pixels in a small output.
    reach = 2 * max(1.0, 1 / smaller) if smaller > 0 else float(max(size))
    aligned = _aligned(inside & ~ignored, x, y, column_label, row_label, bands, apart, size, reach)
    return Draw(**common, **fitted, labels_aligned=aligned, mean=mean, std=std)


def measure_normalisation(
    augmentation: Augmentation, size: tuple[int, int], streams: SeedStreams, epoch: int = 0, index: int = 0
) -> np.ndarray:
    """Mean and std of `(value - mean) / std` in one draw, as `Draw` has them; see `measure_draw` for the arguments.

    Returns:
        float64 [2, 3], grey levels; NaN where nothing is visible.

    Raises:
        DataError: see `run_once`.
    """
    label = np.zeros(size, np.uint8)
    constant = (np.full((*size, 3), grey, np.float32) for grey in (0, 255))
    black, white = (run_once(augmentation, image, label, streams, epoch, index)[0] for image in constant)
    cover = np.mean([_share_of_full(np.abs(channel)) for channel in white - black], axis=0)
    inside = cover > COVERED
    return np.array(_levels(black, white, inside)) if inside.any() else np.full((2, 3), math.nan)


def _levels(black: np.ndarray, white: np.ndarray, inside: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = [], []
    for channel in range(3):
        slope = np.median((white - black)[channel][inside])
        offset = np.median(black[channel][inside])
        std.append(float(255 / slope) if slope else math.inf)
        mean.append(float(-offset * 255 / slope) if slope else math.nan)
    return tuple(mean), tuple(std)


def _share_of_full(response: np.ndarray) -> np.ndarray:
    # Full is what most of the responding pixels have: padding responds with 0, its rim with a part.
    return response / np.median(response[response > 0]) if response.any() else response


def _affine(inside: np.ndarray, x: np.ndarray, y: np.ndarray) -> Callable[[tuple[int, int]], dict[str, Any]]:
    rows, columns = np.nonzero(inside)
    stride = max(len(rows) // 20000, 1)
    rows, columns = rows[::stride], columns[::stride]
    design = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    targets = np.stack([x[rows, columns], y[rows, columns]], axis=1)
    solution, *_ = np.linalg.lstsq(design, targets, rcond=None)
    (a, d), (b, e), (c, f) = solution
    residual = float(np.sqrt(((design @ solution - targets) ** 2).sum(axis=1).mean()))
    determinant = a * e - b * d
    height, width = inside.shape
    centre = ((width - 1) / 2, (height - 1) / 2)

    def result(size: tuple[int, int]) -> dict[str, Any]:
        h, w = size
        mirrored = determinant < 0
        # A mirrored draw is the unmirrored one seen from behind: its first axis is turned round.
        sign = -1.0 if mirrored else 1.0
        step_x, step_y = math.hypot(a, d), math.hypot(b, e)
        return {
            "scale_x": 1 / step_x if step_x else math.nan,
            "scale_y": 1 / step_y if step_y else math.nan,
            "rotation": math.degrees(math.atan2(sign * d, sign * a)),
            "mirrored": bool(mirrored),
            "source": float(min(inside.sum() * abs(determinant) / (h * w), 1.0)),
            "left": float((a * centre[0] + b * centre[1] + c) / max(w - 1, 1)),
            "top": float((d * centre[0] + e * centre[1] + f) / max(h - 1, 1)),
            "residual": residual,
        }

    return result


def _aligned(
    inside: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    column_label: np.ndarray,
    row_label: np.ndarray,
    bands: int,
    apart: int,
    size: tuple[int, int],
    reach: float,
) -> float:
    if not inside.any():
        return math.nan
    h, w = size
    total = 0.0
    for position, label, length in ((x, column_label, w), (y, row_label, h)):
        # Within `reach` source pixels of a band's edge either side is right.
        low = (np.clip(position - reach, 0, length - 1).astype(int) * bands) // length
        high = (np.clip(position + reach, 0, length - 1).astype(int) * bands) // length
        # Every other block is labelled as if it lay `apart` bands further on.
        fits = [(label - shift) % bands for shift in (0, apart)]
        total += float(np.any([(band >= low) & (band <= high) for band in fits], axis=0)[inside].mean())
    return total / 2


def measure_colours(
    augmentation: Augmentation,
    size: tuple[int, int],
    streams: SeedStreams,
    epoch: int = 0,
    index: int = 0,
    without_colour: Augmentation | None = None,
) -> Colours:
    """Where red, green and blue end up, from constant images; see `measure_draw` for the arguments.

    Raises:
        DataError: see `run_once`.
    """
    matrix = _responses(augmentation, size, streams, epoch, index)
    kept = matrix if without_colour is None else _responses(without_colour, size, streams, epoch, index)
    return Colours(matrix, tuple(int(i) for i in np.abs(kept).argmax(axis=1)))


def _responses(
    augmentation: Augmentation, size: tuple[int, int], streams: SeedStreams, epoch: int, index: int
) -> np.ndarray:
    h, w = size
    label = np.zeros((h, w), np.uint8)
    outputs = []
    for colour in ((0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 128), (128, 128, 128)):
        image = np.broadcast_to(np.array(colour, np.float32), (h, w, 3)).astype(np.float32)
        outputs.append(run_once(augmentation, image, label, streams, epoch, index)[0])
    black, *single, grey = outputs
    visible = np.abs(grey - black).mean(axis=0) > 0
    matrix = np.full((3, 3), math.nan)
    if visible.any():
        for i, output in enumerate(single):
            for c in range(3):
                whole = np.median((grey - black)[c][visible])
                matrix[c, i] = np.median((output - black)[c][visible]) / whole if whole else 0.0
    return matrix
