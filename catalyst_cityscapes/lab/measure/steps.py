"""What each named step of an augmentation does alone, and how its blur spreads a single bright pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalyst_cityscapes.data.augmentation.colour_steps import is_colour_step
from catalyst_cityscapes.lab.measure.geometry import Draw, measure_draw, run_once
from semseg_ref.base.errors import DataError
from semseg_ref.base.seed_streams import SeedStreams

CANVAS = (96, 192)
IMPULSE = 33
IMPULSES = 48


@dataclass(frozen=True)
class Step:
    """One step, applied alone to a small image.

    Attributes:
        name: in the pipeline.
        kind: class name.
        draws: of the step on an image of `CANVAS`; empty where it does not take arrays.
        spread: variance of what becomes of one bright pixel, in squared pixels an axis, of each draw that spread it;
            empty for a step that moves or resizes the image.
        blurring: share of the draws that spread it, 0..1.
    """

    name: str
    kind: str
    draws: tuple[Draw, ...]
    spread: tuple[float, ...] = ()
    blurring: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether any draw changed the geometry."""
        return any(self.resizes(draw) or self.turns(draw) or self.shifts(draw) or draw.mirrored for draw in self.draws)

    @staticmethod
    def resizes(draw: Draw) -> bool:
        """The draw changed the scale by more than half a percent, or the size of the canvas."""
        return draw.size != CANVAS or abs(draw.scale - 1) > 0.005

    @staticmethod
    def turns(draw: Draw) -> bool:
        """The draw rotated by more than a tenth of a degree."""
        return abs(draw.rotation) > 0.1

    def shifts(self, draw: Draw) -> bool:
        """The draw moved the centre by more than a pixel on its own canvas."""
        far = max(abs(draw.top - 0.5) * (CANVAS[0] - 1), abs(draw.left - 0.5) * (CANVAS[1] - 1))
        return draw.size == CANVAS and far > 1


def named_steps(augmentation: Any) -> dict[str, Callable]:
    """Steps of a pipeline by name; empty where the augmentation does not show them."""
    steps = getattr(augmentation, "steps", None)
    if isinstance(steps, dict):
        return steps
    listed = getattr(augmentation, "transforms", None)
    if isinstance(listed, (list, tuple)) and all(map(callable, listed)):
        return {f"{index} {type(step).__name__}": step for index, step in enumerate(listed)}
    return {}


def measure_steps(augmentation: Any, classes: int, ignore_index: int, draws: int = 12) -> tuple[Step, ...]:
    """Measures every step that turns an image and a label, both arrays, into such.

    Args:
        augmentation: built; see `named_steps` for which ones show their steps.
        classes, ignore_index: of the labels.
        draws: of each step.
    """
    streams, measured = SeedStreams(0), []
    for name, step in named_steps(augmentation).items():
        kind = type(getattr(step, "transform", step)).__name__  # what an adapter calls
        if not _takes_arrays(step):
            measured.append(Step(name, kind, ()))
            continue
        alone = _channels_first(step)
        moves_nothing = is_colour_step(step)
        places = _channels_first(lambda *sample: sample) if moves_nothing else None
        try:
            found = tuple(
                measure_draw(alone, CANVAS, classes, ignore_index, streams, 0, index, places) for index in range(draws)
            )
        except DataError:
            found = ()
        bare = Step(name, kind, found)
        if found and not moves_nothing and not bare.moves:
            spreads = [s for index in range(IMPULSES) if (s := _spread(alone, streams, index)) is not None]
            bare = Step(name, kind, found, tuple(spreads), len(spreads) / IMPULSES)
        measured.append(bare)
    return tuple(measured)


def _takes_arrays(step: Callable) -> bool:
    image, label = np.full((*CANVAS, 3), 128, np.float32), np.zeros(CANVAS, np.uint8)
    try:
        out = step(image, label)
    except Exception:  # a step that wants tensors may raise anything on arrays
        return False
    return all(isinstance(part, np.ndarray) for part in out) and out[0].ndim == 3 and out[1].ndim == 2


def _channels_first(step: Callable) -> Callable:
    def called(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out, target = step(image, label)
        return out.transpose(2, 0, 1), target

    return called


def _spread(alone: Callable, streams: SeedStreams, index: int) -> float | None:
    """Variance of one bright pixel's image an axis in squared pixels, or None where it stays as it is."""
    image = np.zeros((IMPULSE, IMPULSE, 3), np.float32)
    centre = IMPULSE // 2
    image[centre, centre] = 255
    out, _ = run_once(alone, image, np.zeros((IMPULSE, IMPULSE), np.uint8), streams, 0, index)
    response = out.mean(axis=0)
    total = response.sum()
    if out.shape[1:] != image.shape[:2] or total < 200 or abs(response[centre, centre] - 255) < 1:
        return None
    offsets = np.arange(IMPULSE) - centre
    weights = [response.sum(axis=axis) / total for axis in (0, 1)]
    if max(abs(float((weight * offsets).sum())) for weight in weights) > 0.01:
        return None  # a turn or a shift spreads a pixel too, but not about its own place
    return float((weights[0] * offsets**2).sum())
