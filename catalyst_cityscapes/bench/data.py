"""The data path against the control arm's, on one thread: images a second from files to a normalised crop."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from catalyst_cityscapes.data.augmentation import CropFirst
from catalyst_cityscapes.data.image_set import CachedSemData, CropFirstSemData
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.parallel import Progress, silent
from semseg_ref.dataset import SemData
from semseg_ref.transform import train_transform

CONTROL = "control"
LENS_SIGMA, GRAIN, GRAIN_SIGMA = 0.8, 0.7, 0.8
"""Of `photographed`: with these, 2048 x 1024 becomes a PNG of about 2 MB, as in Cityscapes."""
CLASSES, IGNORE_INDEX = 19, 255


@dataclass(frozen=True)
class ArmTiming:
    """What one arm took.

    Attributes:
        arm: its name.
        seconds: on the clock for one image, median over the repeats.
        images_per_second: its inverse.
        ratio, ratio_low, ratio_high: the control arm's seconds over this arm's in the same repeat: median, least, most.
        cpu_ratio: the same of processor time, median.
        fastest_ratio: the control arm's least processor time for each sample over this arm's, summed over the samples:
            what a quiet machine would show.
        is_equal: whether each crop has the control arm's bits; None for a bound, which makes none.
    """

    arm: str
    seconds: float
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float
    cpu_ratio: float
    fastest_ratio: float
    is_equal: bool | None


@dataclass(frozen=True)
class DataTimings:
    """Timings of all arms, and what was timed.

    Attributes:
        size: (height, width) of the images.
        crop: (height, width).
        images: different files.
        samples: a repeat, each with draws of its own, the same in every repeat and arm.
        repeats: how often all samples were taken with each arm.
        png_bytes: mean size of an image file.
        arms: control, crop_first, the same on whole files that OpenCV decodes (crop_first_opencv), crop_first_cached,
            and the bounds decode_only (by OpenCV, whole) and copy_only.
    """

    size: tuple[int, int]
    crop: tuple[int, int]
    images: int
    samples: int
    repeats: int
    png_bytes: int
    arms: tuple[ArmTiming, ...]

    def arm(self, name: str) -> ArmTiming:
        """The timing of an arm."""
        return next(timing for timing in self.arms if timing.arm == name)

    def rows(self) -> list[dict[str, str | int | float]]:
        """One row an arm, for a CSV."""
        return [
            {
                "arm": timing.arm,
                "size": f"{self.size[0]}x{self.size[1]}",
                "crop": f"{self.crop[0]}x{self.crop[1]}",
                "images": self.images,
                "samples": self.samples,
                "turns": self.repeats,
                "png_kb": round(self.png_bytes / 1000),
                "ms_per_image": round(1000 * timing.seconds, 2),
                "images_per_s": round(timing.images_per_second, 2),
                "ratio": round(timing.ratio, 2),
                "ratio_low": round(timing.ratio_low, 2),
                "ratio_high": round(timing.ratio_high, 2),
                "cpu_time_ratio": round(timing.cpu_ratio, 2),
                "fastest_ratio": round(timing.fastest_ratio, 2),
                "equal_bits": "" if timing.is_equal is None else str(timing.is_equal),
            }
            for timing in self.arms
        ]


def photographed(image: np.ndarray, seed: int) -> np.ndarray:
    """A drawn image as if through a lens and a sensor, so that its PNG is as large as a photograph's.

    Args:
        image: uint8 [H, W, 3].
        seed: of the grain.

    Returns:
        uint8 [H, W, 3].
    """
    noise = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    grain = GRAIN * cv2.GaussianBlur(noise, (0, 0), GRAIN_SIGMA)
    lens = cv2.GaussianBlur(np.float32(image), (0, 0), LENS_SIGMA)
    return np.rint(lens + grain).clip(0, 255).astype(np.uint8)


def build_photographs(folder: Path, images: int, height: int, width: int) -> Path:
    """A toy city whose training images are `photographed`; returns its list file. Repeated calls return at once."""
    city = build_toy_city(folder / f"city_{images}_{height}x{width}", images, 0, 0, height, width)
    done = city / "photographed"
    if not done.exists():
        for seed, path in enumerate(sorted((city / "leftImg8bit" / "train").rglob("*.png"))):
            Image.fromarray(photographed(np.array(Image.open(path)), seed)).save(path)
        done.touch()
    return city / "list" / "fine_train.txt"


def time_data_path(
    folder: Path,
    images: int = 6,
    samples: int = 24,
    repeats: int = 7,
    size: tuple[int, int] = (1024, 2048),
    crop: tuple[int, int] = (713, 713),
    progress: Progress = silent,
) -> DataTimings:
    """Times the arms in interleaved repeats, each sample with the same draws in all of them.

    Args:
        folder: for the images and the cache; kept.
        images: different images, at least 1.
        samples: a repeat, each with its own draws; they go round the images.
        repeats: at least 1; a first, untimed one compares the results.
        size: (height, width) of the images, within the toy city's limits.
        crop: (height, width).
        progress: called as `progress(stage, done, total)`, between the timings.

    Raises:
        InputError: a size that the toy city does not draw, or a disk without room for the cache.
    """
    data_list = build_photographs(folder, images, *size)
    root = str(data_list.parent.parent)
    arguments = {"classes": CLASSES, "ignore_label": IGNORE_INDEX}
    control = SemData("train", root, data_list, train_transform(*crop), **arguments)
    fast = CropFirstSemData("train", root, data_list, CropFirst(crop), **arguments)
    whole = SemData("train", root, data_list, CropFirst(crop), **arguments)
    with _one_thread():  # building the cache sets OpenCV's threads
        cached = CachedSemData("train", root, data_list, CropFirst(crop), **arguments, cache=folder / "cache")
    arms: dict[str, Callable[[int], object]] = {
        CONTROL: control.__getitem__,
        "crop_first": fast.__getitem__,
        "crop_first_opencv": whole.__getitem__,
        "crop_first_cached": cached.__getitem__,
        "decode_only": control.read,
        "copy_only": lambda index: [part.copy() for part in cached.entries[index].read()],
    }
    bounds = ("decode_only", "copy_only")
    # [repeat, sample], of (seconds on the clock, seconds of processor time)
    spent = {name: np.zeros((repeats, samples, 2)) for name in arms}
    with _one_thread():
        is_equal = {name: _same(control, arms[name], samples, images) for name in arms if name not in bounds}
        for name in bounds:
            arms[name](0)
        for repeat in range(repeats):
            progress("timing", repeat, repeats)
            for sample in range(samples):
                _take(arms, sample, images, repeat, spent)
        progress("timing", repeats, repeats)
    png_bytes = round(statistics.mean(Path(path).stat().st_size for path, _ in control.data_list))
    timings = tuple(_summary(name, spent, is_equal.get(name)) for name in arms)
    return DataTimings(size, crop, images, samples, repeats, png_bytes, timings)


def _take(
    arms: dict[str, Callable[[int], object]], sample: int, images: int, repeat: int, spent: dict[str, np.ndarray]
) -> None:
    # Sample by sample, so that a disturbance of the machine hits all arms alike; the order rotates.
    names = list(arms)
    first = (repeat + sample) % len(names)
    for name in names[first:] + names[:first]:
        random.seed(sample)
        start, cpu_start = time.perf_counter(), time.process_time()
        arms[name](sample % images)
        spent[name][repeat, sample] = time.perf_counter() - start, time.process_time() - cpu_start


def _same(control: SemData, arm: Callable[[int], object], samples: int, images: int) -> bool:
    for sample in range(samples):
        random.seed(sample)
        expected = control[sample % images]
        random.seed(sample)
        if not all(torch.equal(a, b) for a, b in zip(expected, arm(sample % images), strict=True)):
            return False
    return True


def _summary(name: str, spent: dict[str, np.ndarray], is_equal: bool | None) -> ArmTiming:
    ratios, cpu_ratios = (spent[CONTROL].mean(axis=1) / spent[name].mean(axis=1)).T
    fastest, control_fastest = (spent[arm][:, :, 1].min(axis=0).sum() for arm in (name, CONTROL))
    seconds = float(np.median(spent[name][:, :, 0].mean(axis=1)))
    return ArmTiming(
        name,
        seconds,
        1 / seconds,
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
        float(np.median(cpu_ratios)),
        float(control_fastest / fastest),
        is_equal,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)
