"""A run folder as a training and a test leave it, made in a second from truth that is spoilt here and there."""

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np

from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.runs.environment import environment
from catalyst_cityscapes.runs.folder import to_yaml
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.iteration_log import IterationLog, IterationRecord
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.dataset import make_dataset, read_label
from semseg_ref.evaluation import evaluate_folder, output_names, write_score
from semseg_ref.tester import save_prediction


def toy_recipe(root: Path, val: int = 4, train: int = 6, settings: tuple[str, ...] = ()) -> Recipe:
    """The toy recipe on a new toy city of 64 x 128 below `root`."""
    data = build_toy_city(root / "city", train=train, val=val, test=0, height=64, width=128)
    return load_recipe(
        ["toy/pspnet50"],
        [
            f"data.root={data}",
            f"experiment.logdir={root / 'run'}",
            "data.crop=[49,49]",
            "protocol.base_size=128",
            "sampling.workers=0",
            *settings,
        ],
    )


def write_logs(folder: Path, recipe: Recipe, steps: int = 900) -> None:
    """recipe.yml, environment.json, iterations.csv and metrics.csv of a training of three epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yml").write_text(to_yaml(recipe))
    (folder / "environment.json").write_text(json.dumps({**environment(), "seed": recipe.experiment.seed}))
    rng = np.random.default_rng(0)

    def record(step: int) -> IterationRecord:
        rate = 0.01 * (1 - step / steps) ** 0.9
        main = 0.4 + 2.4 * math.exp(-step / steps * 4) + 0.2 * rng.random()
        return IterationRecord(step, step * 3 // steps, rate, 10 * rate, main, main + 0.3, 1.4 * main + 0.12)

    IterationLog(folder / "iterations.csv").write(record(step) for step in range(steps))
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("epoch", "loader", "metric", "value"))
        for epoch in (1, 2, 3):
            for loader, miou in (("train", 0.2 * epoch), ("valid", 0.18 * epoch)):
                writer.writerows([(epoch, loader, "mIoU", miou), (epoch, loader, "loss", 2 / epoch)])


def spoilt(label: np.ndarray, rng: np.random.Generator, classes: int, share: float) -> np.ndarray:
    """A prediction: the truth on a coarser grid, with blocks of other classes over a `share` of it."""
    height, width = label.shape
    coarse = cv2.resize(label, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
    prediction = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    prediction[prediction >= classes] = 0
    blocks = rng.integers(0, classes, (-(-height // 8), -(-width // 8)), dtype=np.uint8)
    blocks = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    chosen = rng.random((-(-height // 8), -(-width // 8))) < share
    chosen = chosen.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.where(chosen, blocks, prediction).astype(np.uint8)


def write_test(folder: Path, recipe: Recipe, title: str = "semseg-ss", **extra: object) -> Path:
    """Predictions and the score file of a test; frames later in the list are spoilt more. Returns the score file."""
    data = recipe.data
    output = folder / "result" / "epoch_3" / "val" / title
    for kind in ("gray", "color"):
        (output / kind).mkdir(parents=True)
    pairs = make_dataset("val", data.root, data.val_list)
    colors, names = load_colors(data.colors, data.classes), load_names(data.names, data.classes)
    rng = np.random.default_rng(1)
    for index, ((_, label), name) in enumerate(zip(pairs, output_names(pairs), strict=True)):
        prediction = spoilt(read_label(label), rng, data.classes, 0.5 * index / len(pairs))
        save_prediction(prediction, colors, output / "gray" / name, output / "color" / name)
    evaluation = evaluate_folder(output / "gray", pairs, data.classes, names, data.ignore_index)
    described = {
        "experiment": recipe.experiment.name,
        "epoch": 3,
        "list": data.val_list,
        "limit": None,
        "seconds": 1.0,
        "device": "cpu",
        **extra,
    }
    write_score(output / "score.json", evaluation, recipe.protocol.value(), None, described)
    return output / "score.json"
