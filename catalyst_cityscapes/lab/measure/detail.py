"""How much pixel-level contrast an augmentation leaves, from a known image of noise sent through it."""

import cv2
import numpy as np

from catalyst_cityscapes.lab.measure.geometry import Augmentation, Draw, run_once
from semseg_ref.base.seed_streams import SeedStreams


def measure_detail(
    augmentation: Augmentation, size: tuple[int, int], streams: SeedStreams, draws: tuple[Draw, ...], epoch: int = 0
) -> np.ndarray:
    """Contrast between neighbouring pixels in the output, relative to the input's; 1 leaves it, blur lowers it.

    It is the root mean square of the Laplacian of independent grey levels, over the visible part of the output.

    Args:
        augmentation: see `geometry.run_once`.
        size: (height, width) of the images that it gets.
        streams, epoch: of the draws; their index is their position.
        draws: measured before, for the visible share and the grey levels of one unit of the output.

    Returns:
        float64 [len(draws)]; NaN where nothing is visible.
    """
    h, w = size
    grey = np.random.default_rng(0).uniform(0, 255, (h, w)).astype(np.float32)
    image, label = np.repeat(grey[..., None], 3, axis=2), np.zeros((h, w), np.uint8)
    full = _contrast(grey)
    found = []
    for index, draw in enumerate(draws):
        output = run_once(augmentation, image, label, streams, epoch, index)[0]
        values = (output * np.array(draw.std)[:, None, None]).mean(axis=0).astype(np.float32)
        found.append(_contrast(values) / full / np.sqrt(draw.visible) if draw.visible > 0 else np.nan)
    return np.array(found)


def _contrast(grey: np.ndarray) -> float:
    return float(np.sqrt((cv2.Laplacian(grey, cv2.CV_32F).astype(np.float64) ** 2).mean()))
