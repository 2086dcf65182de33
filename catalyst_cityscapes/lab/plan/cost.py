"""What a lab costs: steps and images from the recipes, disk from the networks, time only from measured runs."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from catalyst_cityscapes.lab.plan.plan import Plan, run_folder
from catalyst_cityscapes.recipe.length import length_in_one_process
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.files import replace_atomically
from semseg_ref.dataset import make_dataset

SECONDS_FILE = "seconds.json"
"""In a run folder: how long training and test took."""


@dataclass(frozen=True)
class RunCost:
    """One training.

    Attributes:
        steps: optimiser steps.
        images: images that go through the network, each epoch's counted again.
    """

    steps: int
    images: int


def run_cost(recipe: Recipe) -> RunCost:
    """Steps and images of a training in one process.

    Raises:
        DataError: the training list cannot be read.
    """
    data, sampling = recipe.data, recipe.sampling
    count = len(make_dataset("train", data.root, data.train_list))
    full = count // sampling.batch_size
    images = full * sampling.batch_size if sampling.drop_last else count
    length = length_in_one_process(recipe, count)
    passes = 0 if length.endless else length.total_batches // length.batches_per_epoch
    rest = length.total_batches - passes * length.batches_per_epoch
    return RunCost(length.total_steps, passes * images + rest * sampling.batch_size)


def checkpoint_bytes(network: nn.Module) -> int:
    """Size of one checkpoint: parameters, buffers, and one momentum value for each trained parameter."""
    state = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    return state + sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)


def checkpoints_kept(recipe: Recipe) -> int:
    """Checkpoint files that a run has at most at the end: the last ones, and one more where there is a best."""
    node = recipe.callbacks.get("checkpoint") or {}
    return int(node.get("keep", 2)) + (node.get("metric") is not None)


def disk_bytes(plan: Plan, sizes: Mapping[str, int], jobs: int, keep_checkpoints: bool) -> int:
    """The most that the checkpoints of a lab take at one time.

    Args:
        plan: the lab.
        sizes: bytes of one checkpoint of each arm.
        jobs: runs at once; each writes a new checkpoint before it removes an old one.
        keep_checkpoints: whether those of finished runs stay.
    """
    kept = {arm.name: sizes[arm.name] * checkpoints_kept(arm.recipe) for arm in plan.arms}
    running = sorted((kept[name] + sizes[name] for name, _ in plan.runs()), reverse=True)[:jobs]
    return sum(running) + (sum(kept[name] for name, _ in plan.runs()) if keep_checkpoints else 0)


def write_seconds(folder: Path, train: float, test: float, resumed: bool) -> None:
    """Records how long a run took; `resumed` says that an earlier part of it is not in the figures."""
    text = json.dumps({"train": round(train, 3), "test": round(test, 3), "resumed": resumed}) + "\n"
    replace_atomically(folder / SECONDS_FILE, lambda file: file.write(text.encode()))


def measured_seconds(plan: Plan) -> dict[tuple[str, int], float]:
    """Seconds of each run of a lab that was measured in one piece, by (arm, seed)."""
    found = {}
    for arm, seed in plan.runs():
        seconds = _read(run_folder(plan, arm, seed) / SECONDS_FILE)
        if seconds is not None:
            found[arm, seed] = seconds
    return found


def _read(path: Path) -> float | None:
    try:
        content = json.loads(path.read_text())
        seconds = float(content["train"]) + float(content["test"])
        return seconds if content["resumed"] is False and 0 <= seconds < math.inf else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # without the file there is no estimate, and that is all it is for


def remaining_seconds(
    left: Iterable[tuple[str, int]], measured: Mapping[tuple[str, int], float], jobs: int
) -> float | None:
    """Time for the runs that are left, from the mean of the arm's measured runs, else of all; None without any.

    Args:
        left: (arm, seed) of the runs to come.
        measured: seconds of finished runs.
        jobs: runs at once.
    """
    if not measured:
        return None
    of_arm: dict[str, list[float]] = {}
    for (arm, _), seconds in measured.items():
        of_arm.setdefault(arm, []).append(seconds)
    means = {arm: sum(values) / len(values) for arm, values in of_arm.items()}
    overall = sum(measured.values()) / len(measured)
    estimates = [means.get(arm, overall) for arm, _ in left]
    return max(sum(estimates) / jobs, max(estimates)) if estimates else 0.0


def duration(seconds: float) -> str:
    """Seconds for people: `42 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Bytes for people, in powers of 1000."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
