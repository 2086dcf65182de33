"""mmsegmentation's training pipeline beside ours: milliseconds a sample on one core, in turns, from the same arrays.

    PYTHONPATH=. PEER/bin/python benchmarks/mmseg_peer_pipeline.py [--samples 30] [--repeats 7]

PEER is an environment of its own with mmsegmentation 1.2.2, mmengine 0.10.7 and mmcv-lite 2.1.0, besides what this
project's augmentation needs; the package is run, and no part of the project. Each sample is compared bit by bit before
it is timed. A row for each crop and arm:

* `mmsegmentation`: its pipeline for Cityscapes after loading, from the BGR arrays that it decodes to;
* `crop_first`: ours from the RGB arrays that we decode to, computing the crop alone; `whole`: without that;
* `*_prepared`: the same and the normalised, padded sample, which mmsegmentation's model makes of it afterwards.
"""

import argparse
import csv
import platform
import sys
import time
import types
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch

from catalyst_cityscapes.data.augmentation import Pipeline, mmseg

RESULTS = Path(__file__).parent / "results"
SIZE = (1024, 2048)
BLOCK = 96
CROPS = {(512, 1024): (2048, 1024), (769, 769): (2049, 1025), (1024, 1024): (2048, 1024)}
"""Crop (height, width), and the base of its recipe (width, height)."""
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


class _NoOperations(types.ModuleType):
    # mmcv without compiled operations lacks the module from which mmsegmentation imports names that nothing here uses.
    __path__ = ()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def street_scene():
    """Image uint8 [H, W, 3], RGB, of coloured blocks with noise, and label uint8 [H, W] of blocks, a tenth ignored."""
    rng = np.random.default_rng(0)
    cells = [-(-side // BLOCK) for side in SIZE]
    grid = np.ix_(*(np.arange(side) // BLOCK for side in SIZE))
    image = rng.integers(0, 256, (*cells, 3))[grid] + rng.integers(-24, 25, (*SIZE, 3))
    label = rng.integers(0, 19, cells)
    label[rng.random(cells) < 0.1] = 255
    return image.clip(0, 255).astype(np.uint8), label[grid].astype(np.uint8)


def peer(crop, base):
    """mmsegmentation's pipeline, and what its model does first: (arrays BGR) to a sample, and a sample to tensors."""
    for name in ("mmcv.ops", "mmcv.ops.point_sample", "mmcv.ops.modulated_deform_conv"):
        sys.modules.setdefault(name, _NoOperations(name))
    import mmseg.datasets.transforms
    import mmseg.models
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    steps = Compose(
        [
            {"type": "RandomResize", "scale": base, "ratio_range": (0.5, 2.0), "keep_ratio": True},
            {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75},
            {"type": "RandomFlip", "prob": 0.5},
            {"type": "PhotoMetricDistortion"},
            {"type": "PackSegInputs"},
        ]
    )
    prepare = mmseg.models.SegDataPreProcessor(MEAN, STD, size=crop, pad_val=0, seg_pad_val=255, bgr_to_rgb=True)

    def sample(image, label):
        arrays = {"img": image, "gt_seg_map": label, "seg_fields": ["gt_seg_map"]}
        return steps({**arrays, "img_shape": label.shape, "ori_shape": label.shape})

    def prepared(packed):
        batch = prepare({"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}, training=True)
        return batch["inputs"][0], batch["data_samples"][0].gt_sem_seg.data[0]

    return sample, prepared


def ours(crop, base, crop_first):
    """Our pipeline up to the packed sample, and the last step."""
    steps = {
        "to_bgr": mmseg.ToBGR(),
        "scale": mmseg.RandomResize(base),
        "crop": mmseg.RandomCrop(crop),
        "flip": mmseg.RandomFlip(),
        "colour": mmseg.PhotoMetricDistortion(),
        "pack": mmseg.Pack(),
    }
    return Pipeline(list(steps), steps, crop_first), mmseg.NormalizeAndPad(crop, MEAN, STD)


def arms_of(crop, base):
    """Callables by name, each from nothing to a sample, all drawing from numpy's generator."""
    image, label = street_scene()
    bgr = np.ascontiguousarray(image[..., ::-1])
    their_sample, their_tensors = peer(crop, base)
    first, last = ours(crop, base, crop_first=True)
    whole, _ = ours(crop, base, crop_first=False)
    return {
        "mmsegmentation": lambda: their_sample(bgr, label),
        "crop_first": lambda: first(image, label),
        "whole": lambda: whole(image, label),
        "mmsegmentation_prepared": lambda: their_tensors(their_sample(bgr, label)),
        "crop_first_prepared": lambda: last(*first(image, label)),
        "whole_prepared": lambda: last(*whole(image, label)),
    }


def check(arms, seed):
    """Stops where a sample, or the generator after it, is not the same in all arms."""
    found = {}
    for name, arm in arms.items():
        np.random.seed(seed)
        result = arm()
        if isinstance(result, dict):
            result = result["inputs"], result["data_samples"].gt_sem_seg.data
        found[name] = *result, np.random.random_sample()
    for suffix in ("", "_prepared"):
        image, label, number = found[f"mmsegmentation{suffix}"]
        for name in ("crop_first", "whole"):
            other = found[name + suffix]
            if not (torch.equal(image, other[0]) and torch.equal(label, other[1]) and number == other[2]):
                sys.exit(f"seed {seed}: {name}{suffix} is not mmsegmentation's sample")


def measured(arms, samples, repeats):
    """Seconds, and seconds of the processor, of each arm, [2, repeats, samples], in turns."""
    spent = {name: np.zeros((2, repeats, samples)) for name in arms}
    names = list(arms)
    for repeat in range(repeats):
        for seed in range(samples):
            first = (repeat + seed) % len(names)
            for name in names[first:] + names[:first]:
                np.random.seed(seed)
                begun, cpu_begun = time.perf_counter(), time.process_time()
                arms[name]()
                spent[name][:, repeat, seed] = time.perf_counter() - begun, time.process_time() - cpu_begun
    return spent


def main() -> None:
    """Prints and writes a row for each crop and arm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    rows = []
    for crop, base in CROPS.items():
        arms = arms_of(crop, base)
        for seed in range(options.samples):
            check(arms, seed)
        spent = measured(arms, options.samples, options.repeats)
        for name, (seconds, cpu) in spent.items():
            theirs, their_cpu = spent["mmsegmentation_prepared" if name.endswith("_prepared") else "mmsegmentation"]
            shares = seconds.mean(axis=1) / theirs.mean(axis=1)
            row = {
                "date": datetime.now(UTC).date(),
                "opencv": cv2.__version__,
                "torch": torch.__version__,
                "crop": f"{crop[0]}x{crop[1]}",
                "arm": name,
                "samples": options.samples,
                "repeats": options.repeats,
                "ms": f"{1e3 * seconds.mean():.2f}",
                "cpu_ms": f"{1e3 * cpu.mean():.2f}",
                "share": f"{seconds.mean() / theirs.mean():.3f}",
                "share_low": f"{shares.min():.3f}",
                "share_high": f"{shares.max():.3f}",
                "fastest_share": f"{seconds.min(axis=0).mean() / theirs.min(axis=0).mean():.3f}",
                "cpu_share": f"{cpu.mean() / their_cpu.mean():.3f}",
            }
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    path = RESULTS / f"mmseg_peer_pipeline_{platform.machine()}-cpu_1.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
