"""Simulated labs with a known truth, to find out how often an interval or a test keeps its promise.

Tests and benchmarks/statistics_coverage.py use the same ones; with `seed_differences` one can look what to expect of a
planned number of seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from semseg_ref.metric import EPSILON

NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape) - 1.0,
    "lognormal": lambda rng, shape: (
        (rng.lognormal(0.0, 0.8, shape) - np.exp(0.32)) / np.sqrt((np.exp(0.64) - 1) * np.exp(0.64))
    ),
    "gamma 4": lambda rng, shape: (rng.gamma(4.0, 1.0, shape) - 4.0) / 2.0,
    "gamma 1/2": lambda rng, shape: (rng.gamma(0.5, 1.0, shape) - 0.5) / np.sqrt(0.5),
}
"""Scatter of one run's score about its mean, mean 0 and variance 1; skewness 0, 2, 3.7, 1 and 2.8."""


def seed_differences(
    rng: np.random.Generator, shape: tuple[int, ...], base: str = "normal", arm: str = "normal", scale: float = 1.0
) -> np.ndarray:
    """Differences arm - base of independent runs without a true difference, float64 of a shape [..., S].

    Args:
        rng: where the draws come from.
        shape: of the answer.
        base, arm: a key of `NOISES`.
        scale: how many times as far the arm scatters; infinite leaves only the arm's scatter, of variance 1.
    """
    if np.isinf(scale):
        return NOISES[arm](rng, shape)
    return scale * NOISES[arm](rng, shape) - NOISES[base](rng, shape)


PRESENT = (
    *(0.99, 0.93, 0.98, 0.32, 0.42, 0.99, 0.55, 0.93, 0.97, 0.55),
    *(0.9, 0.75, 0.34, 0.95, 0.12, 0.09, 0.05, 0.17, 0.55),
)
"""Share of images in which each of 19 classes occurs, about as in Cityscapes: trains in one of twenty."""
AREA = (350.0, 60, 220, 20, 20, 12, 3, 6, 160, 12, 40, 12, 4, 70, 25, 25, 25, 5, 8)
"""Median area of each class where it occurs, thousands of pixels."""
QUALITY = (0.97, 0.82, 0.91, 0.5, 0.55, 0.6, 0.65, 0.74, 0.91, 0.61, 0.93, 0.79, 0.57, 0.94, 0.6, 0.8, 0.65, 0.55, 0.75)
"""Roughly the IoU of each class in an image of middling difficulty."""


@dataclass(frozen=True)
class ImageWorld:
    """Two arms' areas on a large pool of images that stands for all images of a kind.

    Attributes:
        base, arm: areas of intersection and union in pixels, float64 [2, pool, C]; C = seeds x 19 columns.
        truth: mIoU(arm) - mIoU(base) of the whole pool, averaged over seeds.
    """

    base: np.ndarray
    arm: np.ndarray
    truth: float


def image_world(seed: int, seeds: int = 1, pool: int = 20000, effect: float = 0.05, rarer: float = 1.0) -> ImageWorld:
    """A pool of images with 19 classes of realistic frequency, size and difficulty.

    Log-normal areas; the share that is found of a class depends on the image, on the class in this image (both alike
    for both arms), on the arm, and on chance; what is missed becomes another class's false positives in the same image.

    Args:
        seed: of the draws.
        seeds: networks per arm.
        pool: images.
        effect: mean advantage of the arm, in logits of the found share; classes differ about it.
        rarer: the classes in under a fifth of the images occur so many times less often.
    """
    rng = np.random.default_rng(seed)
    present, classes = np.array(PRESENT), len(PRESENT)
    present = np.where(present < 0.2, present / rarer, present)
    area = np.where(rng.random((pool, classes)) < present, rng.lognormal(0.0, 1.0, (pool, classes)), 0.0)
    area = np.rint(1000 * np.array(AREA) * area)
    middling = np.log((1 + np.array(QUALITY)) / (1 - np.array(QUALITY)))
    difficulty = 0.5 * rng.standard_normal((pool, 1)) + rng.standard_normal((pool, classes))
    taken_for = rng.dirichlet(np.full(classes, 0.3), classes) * np.sqrt(AREA)
    np.fill_diagonal(taken_for, 0)
    arms = []
    for advantage in (np.zeros(classes), effect + 0.3 * rng.standard_normal(classes)):
        runs = []
        for _ in range(seeds):
            logits = middling + advantage + 0.15 * rng.standard_normal(classes) + difficulty
            chance = 0.6 * rng.standard_normal((pool, classes))
            found = np.rint(area / (1 + np.exp(-logits - chance)))
            attraction = rng.exponential(1.0, (pool, classes))
            shares = (area - found) / np.maximum(attraction @ taken_for.T, EPSILON)
            false = np.rint(attraction * (shares @ taken_for))
            runs.append((found, area + false))
        arms.append(np.stack([np.concatenate([run[i] for run in runs], axis=1) for i in (0, 1)]))
    means = [float((areas[0].sum(axis=0) / (areas[1].sum(axis=0) + EPSILON)).mean()) for areas in arms]
    return ImageWorld(arms[0], arms[1], means[1] - means[0])


def draws(rng: np.random.Generator, resamples: int, images: int) -> np.ndarray:
    """Bootstrap weights: how often each resample holds each image, float64 [resamples, images]."""
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def class_differences(
    rng: np.random.Generator, experiments: int, seeds: int, noise: str = "normal", scale: float = 1.0, classes: int = 19
) -> np.ndarray:
    """Differences per class and seed without a true difference, float64 [experiments, classes, seeds].

    A run's classes are correlated (0.3): a good run is good in many.
    """
    common = seed_differences(rng, (experiments, 1, seeds), noise, noise, scale)
    own = seed_differences(rng, (experiments, classes, seeds), noise, noise, scale)
    return np.sqrt(0.3) * common + np.sqrt(0.7) * own
