"""Training samples as the network would get them: what is ignored, which classes occur, which values they have."""

from dataclasses import dataclass

import cv2
import numpy as np

from catalyst_cityscapes.data.training_set import training_set
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.seed_streams import SeedStreams

SHARPNESS_KERNEL = 3


@dataclass(frozen=True)
class Samples:
    """Statistics of the first samples of an epoch, in the order of training.

    Attributes:
        count: samples drawn.
        ignored: share of ignored pixels of each sample, float64 [count].
        pixels: labelled pixels of each class over all samples, int64 [K].
        values: label values that are neither a class nor the ignore index.
        mean, std: of the network's input per channel, over all samples; about 0 and 1 where the statistics fit.
        sharpness: mean absolute Laplacian of each input, in units of its standard deviation, float64 [count].
        replayed: the same image got the same pixels in the next epoch.
        each_pixels: labelled pixels of each class in each sample, int64 [count, K].
        each_mean, each_std: of the network's input per sample and channel, float64 [count, 3].
    """

    count: int
    ignored: np.ndarray
    pixels: np.ndarray
    values: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sharpness: np.ndarray
    replayed: bool
    each_pixels: np.ndarray
    each_mean: np.ndarray
    each_std: np.ndarray


def measure_samples(recipe: Recipe, count: int, epoch: int = 0) -> Samples:
    """Draws and measures the first `count` samples of an epoch (fewer where the list is shorter).

    Raises:
        InputError: see `training_set`; an image or label that cannot be read.
    """
    dataset, order = training_set(recipe)
    if dataset.streams is None:
        # An unseeded recipe draws differently each time; what it draws from is the same.
        dataset.streams = order.streams = SeedStreams(0)
    order.set_epoch(epoch)
    keys = [key for key, _ in zip(order, range(count), strict=False)]
    classes, ignore = recipe.data.classes, recipe.data.ignore_index
    ignored, sharpness, sums = [], [], np.zeros((2, 3))
    histogram = np.zeros(256 + 1, np.int64)
    each_pixels, each_mean, each_std = [], [], []
    total, first, replayed = 0, None, False
    for key in keys:
        image, label = (np.asarray(part) for part in dataset[key])
        values = np.bincount(np.clip(label, 0, 256).ravel(), minlength=257)
        histogram += values
        each_pixels.append(values[:classes])
        ignored.append(float((label == ignore).mean()))
        pixels = image.reshape(image.shape[0], -1).astype(np.float64)
        sums += np.stack([pixels.sum(axis=1), (pixels**2).sum(axis=1)])
        total += pixels.shape[1]
        each_mean.append(pixels.mean(axis=1))
        each_std.append(pixels.std(axis=1))
        grey = image.astype(np.float32).mean(axis=0)
        spread = float(grey.std())
        laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=SHARPNESS_KERNEL)).mean()
        sharpness.append(float(laplacian) / spread if spread else 0.0)
        if first is None:
            first = image
            again = np.asarray(dataset[(key[0] + 1, key[1])][0])
            replayed = again.shape == image.shape and bool((again == image).all())
    mean = sums[0] / total
    outside = [int(v) for v in np.nonzero(histogram)[0] if v >= classes and v != ignore]
    return Samples(
        len(keys),
        np.array(ignored),
        histogram[:classes],
        tuple(outside),
        tuple(mean),
        tuple(np.sqrt(np.maximum(sums[1] / total - mean**2, 0))),
        np.array(sharpness),
        replayed,
        np.array(each_pixels),
        np.array(each_mean),
        np.array(each_std),
    )
